"""A client of the WebSocket API, version 2, that misses nothing when its connection breaks.

It prints the events of the cluster and publishes one every second. Run it while `make cluster` runs,
in several terminals, and each prints what the others publish:

    pip install websockets
    python3 examples/websocket.py [URL [TOKEN]]

URL is ws://127.0.0.1:27759 if it is not given. docs/websocket.md describes all messages.
"""

import asyncio
import contextlib
import itertools
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

TOPICS = ["demo.", "zeek.cluster.manager"]


async def publish(send):
    with contextlib.suppress(ConnectionClosed):
        for count in itertools.count(1):
            # In JSON 42 is a count; other types of Zeek are objects, such as {"addr": "192.0.2.1"}.
            args = ["Python", count, {"interval": "1s"}]
            await send(type="publish", topic="demo.ping", event="Demo::ping", args=args)
            await asyncio.sleep(1)


async def main(url="ws://127.0.0.1:27759", token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    session, seen = None, 0
    # Connects again whenever the connection is lost, and waits a little longer each time.
    async for gateway in connect(f"{url}/v2/messages/json", additional_headers=headers):

        async def send(**message):
            await gateway.send(json.dumps(message))

        publisher = None
        try:
            async for text in gateway:
                message = json.loads(text)
                match message["type"]:
                    case "welcome":
                        welcome = message
                        if session is None:
                            await send(type="subscribe", id="subscribe", topics=TOPICS)
                        else:
                            await send(type="resume", id="resume", session=session, after=seen)
                    case "ok":
                        # Subscribed, or resumed: then with all events since the last one we have seen.
                        print(json.dumps(message), flush=True)
                        if message["id"] == "subscribe":
                            seen = welcome["seq"]
                        session = welcome["session"]
                        publisher = asyncio.create_task(publish(send))
                    case "event":
                        seen = message["seq"]
                        print(message["topic"], message["event"], *message["args"], flush=True)
                    case "error" if message["code"] == "resume_failed":
                        # The gateway was restarted, or we were away for too long: from the start.
                        await send(type="subscribe", id="subscribe", topics=TOPICS)
                    case _:
                        # `lagged`, if we read too slowly, or what is wrong with one of our messages.
                        print(json.dumps(message), file=sys.stderr, flush=True)
        except ConnectionClosed as closed:
            print(f"disconnected: {closed}", file=sys.stderr, flush=True)
        finally:
            if publisher is not None:
                publisher.cancel()


try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
