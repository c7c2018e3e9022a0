"""Plain HTTP: what `curl` would send, and what to look at in the reply."""

import os

import httpx2

URL = os.environ.get("DEMUR_BASE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("DEMUR_API_KEY")

reply = httpx2.post(
    f"{URL}/v1/answer",
    json={"prompt": "What is the capital of France?", "sampling": {"seed": 1}},
    headers={"Authorization": f"Bearer {KEY}"} if KEY else {},
    timeout=60,
)
reply.raise_for_status()
answer = reply.json()

print(answer["decision"], answer["reason"])
print(answer["answer"], answer["confidence"], "calibrated" if answer["calibrated"] else "not calibrated")
for cluster in answer["clusters"]:
    print(f"{cluster['size']:3} of {answer['sampling']['completed']} mean {cluster['text']!r}")
print("missing or weakened:", answer["degraded"])
