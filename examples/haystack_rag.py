"""A Haystack pipeline that routes by what the model knows: `pip install 'demur-client[haystack]'`."""

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore

from demur_client.haystack import UncertaintyChatGenerator, UncertaintyRouter

store = InMemoryDocumentStore()
store.write_documents(
    [
        Document(content="The capital of Wyoming is Cheyenne."),
        Document(content="The capital of North Dakota is Bismarck."),
    ]
)

# Thresholds of your own; or name a retriever that is certified: "retrieval": {"id": ...}
options = {"policy": {"answer_min": 0.7}}

ask = Pipeline()
ask.add_component("chat", UncertaintyChatGenerator(options=options))  # DEMUR_BASE_URL, DEMUR_API_KEY
ask.add_component("route", UncertaintyRouter())
ask.connect("chat.replies", "route.replies")

read = Pipeline()
read.add_component("look_up", InMemoryBM25Retriever(store, top_k=1))
read.add_component("chat", UncertaintyChatGenerator(options=options))
read.add_component("route", UncertaintyRouter())
read.connect("look_up.documents", "chat.documents")
read.connect("chat.replies", "route.replies")

for question in ("What is the capital of Florida?", "What is the capital of Wyoming?"):
    messages = [ChatMessage.from_user(question)]
    routed = ask.run({"chat": {"messages": messages}})["route"]
    if "retrieve" in routed:
        print("looking up:", question)
        routed = read.run({"look_up": {"query": question}, "chat": {"messages": messages}})["route"]
    for decision, replies in routed.items():
        print(question, "->", decision, [reply.text for reply in replies])
