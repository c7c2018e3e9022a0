"""Many questions at once, with asyncio; an error is a result, too."""

import asyncio

from demur_client import AsyncDemur, DemurError

QUESTIONS = ["What is the capital of Peru?", "What is the currency of Japan?", "Who wrote Hamlet?"]


async def main() -> None:
    async with AsyncDemur() as demur:
        async for index, result in demur.map(QUESTIONS, concurrency=2, sampling={"seed": 1}):
            told = result if isinstance(result, DemurError) else f"{result.answer!r} ({result.decision})"
            print(QUESTIONS[index], "->", told)


asyncio.run(main())
