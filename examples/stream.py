"""Watch samples land and fall into meanings."""

from demur_client import Demur, ProgressEvent, ResultEvent, SampleEvent

with Demur() as demur, demur.answer_stream("What is the currency of Peru?", sampling={"seed": 1}) as events:
    for event in events:
        if isinstance(event, SampleEvent):
            print(f"sample {event.index}: {event.text}")
        elif isinstance(event, ProgressEvent):
            print(f"  {event.completed} samples, {event.num_clusters} meanings: {event.assignments}")
        elif isinstance(event, ResultEvent):
            print(event.result.decision, event.result.answer)
