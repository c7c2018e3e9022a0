"""Any client of OpenAI, pointed at Demur: `pip install openai`, and `make serve` in another terminal."""

import os

from openai import OpenAI

url = os.environ.get("DEMUR_BASE_URL", "http://127.0.0.1:8000")

with OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("DEMUR_API_KEY", "none")) as client:
    model = client.models.list().data[0].id

    # An ordinary completion, and a verdict beside it.
    for question in ("What is the capital of Florida?", "What is the capital of Wyoming?"):
        asked = [{"role": "user", "content": question}]
        reply = client.chat.completions.create(model=f"{model}@thorough", messages=asked, seed=1)
        verdict = reply.uncertainty
        print(question, "->", verdict["decision"], f"({verdict['uncertainty']['agreement']:.0%} of samples agree)")
        if verdict["decision"] == "answer":
            print("  ", reply.choices[0].message.content)

    # Streamed as it is written; the verdict is in the last chunk.
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    for chunk in client.chat.completions.create(model=model, messages=asked, seed=1, stream=True):
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print("  ", chunk.uncertainty["decision"])

    # What the model only guesses at is replaced, where that is wanted.
    reply = client.chat.completions.create(
        model=model,
        seed=1,
        messages=[{"role": "user", "content": "What is the capital of Wyoming?"}],
        extra_body={"uncertainty": {"on_abstain": "replace", "retrieval": {"available": False}}},
    )
    print(reply.choices[0].message.content)
