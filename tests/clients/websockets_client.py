"""The Python package `websockets` as a client of a running gateway.

    python websockets_client.py URL

URL is ws://127.0.0.1:27759, for example. Events have topics that begin with `zcluster.test.`. At the end we write a
line `stop` to standard output: then the gateway has to be stopped. Other output is a line per test. Exit code 0 if
everything holds.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

URL = sys.argv[1]
V1 = f"{URL}/v1/messages/json"
V2 = f"{URL}/v2/messages/json"
TOPIC = "zcluster.test.python."


def value(kind, data):
    return {"@data-type": kind, "data": data}


# One of each type, as WIRE.md §3.1 writes them.
VALUES = [
    value("none", {}),
    value("boolean", True),
    value("count", 18446744073709551615),
    value("integer", -9223372036854775808),
    value("real", 1.5),
    value("string", 'text \u00fc \n " \\ \U0001f600'),
    value("address", "192.0.2.1"),
    value("address", "2001:db8::1"),
    value("subnet", "192.0.2.0/24"),
    value("port", "443/tcp"),
    value("timestamp", "2026-01-01T00:00:00.250"),
    value("timespan", "1500ms"),
    value("enum-value", "Cluster::WORKER"),
    value("set", [value("count", 1), value("count", 2)]),
    value("table", [{"key": value("string", "k"), "value": value("count", 1)}]),
    value("vector", [value("vector", []), value("none", {})]),
]


def data_message(topic, name, args):
    event = value("vector", [value("string", name), value("vector", args)])
    data = value("vector", [value("count", 1), value("count", 1), event])
    return {"type": "data-message", "topic": TOPIC + topic, **data}


async def send(client, message):
    await client.send(json.dumps(message))


async def receive(client):
    async with asyncio.timeout(30):
        return json.loads(await client.recv())


async def subscribed(client, topics):
    """Version 1: the first message and its answer."""
    await send(client, topics)
    ack = await receive(client)
    assert ack["type"] == "ack" and "-websocket-" in ack["endpoint"], ack


async def closed(client):
    """How the server closes the connection."""
    try:
        while True:
            await receive(client)
    except ConnectionClosed as error:
        return error.rcvd.code, error.rcvd.reason


async def ask(client, request_type, **members):
    """Version 2: a request and its answer. Nothing else may come in between."""
    await send(client, {"type": request_type, "id": request_type, **members})
    answer = await receive(client)
    assert answer["id"] == request_type, answer
    return answer


async def v1_every_type_arrives_as_it_was_sent():
    async with connect(V1) as one, connect(V1, additional_headers={"X-Application-Name": "test/1"}) as two:
        await subscribed(one, [TOPIC + "a"])
        await subscribed(two, [TOPIC, TOPIC + "a"])
        sent = data_message("a", "Test::types", VALUES)
        await send(two, sent)
        assert await receive(one) == sent
        # In pieces, and as bytes.
        text = json.dumps(data_message("b", "Test::pieces", [value("string", "x" * 200_000)]))
        await one.send([text[:1], text[1:100_000], text[100_000:]])
        assert await receive(two) == json.loads(text)
        await one.send(json.dumps(data_message("c", "Test::bytes", [])).encode())
        assert await receive(two) == data_message("c", "Test::bytes", [])


async def v1_errors():
    async with connect(V1) as client:
        await subscribed(client, [])
        for bad, context in [("nonsense", "failed to decode JSON object"), ("{}", "failed to decode JSON object")]:
            await client.send(bad)
            error = await receive(client)
            assert error["code"] == "deserialization_failed", error
            assert error["context"] == context, error
        await (await client.ping())
    async with connect(f"{URL}/v1/messages/json/") as client:
        context = "Invalid URI - use /v1/messages/json"
        assert (await receive(client))["code"] == "invalid_uri"
        assert await closed(client) == (1008, context)


async def v2_requests_and_answers():
    async with connect(V2) as one, connect(V2) as two:
        welcome = await receive(one)
        assert (welcome["type"], welcome["version"]) == ("welcome", 2), welcome
        await receive(two)
        assert (await ask(one, "subscribe", topics=[TOPIC]))["type"] == "ok"
        # As Python understands JSON: a float that is a whole number stays a double.
        args = [True, 42, {"int": -1}, 1.5, {"double": 2.0}, "text", None, [{"addr": "192.0.2.1"}]]
        assert (await ask(two, "publish", topic=TOPIC + "d", event="Test::v2", args=args))["type"] == "ok"
        event = await receive(one)
        assert (event["topic"], event["event"], event["args"]) == (TOPIC + "d", "Test::v2", args), event
        assert (await ask(one, "unsubscribe", topics=[TOPIC]))["type"] == "ok"
        assert (await ask(one, "nonsense"))["code"] == "unknown_type"
        await send(one, {"type": "notices", "id": 1, "kinds": ["nodes", "bus"]})
        answers = [await receive(one) for _ in range(3)]
        assert [answer["type"] for answer in answers] == ["ok", "nodes", "bus"], answers


async def v2_nothing_is_lost_when_the_connection_breaks():
    async with connect(V2) as other:
        await receive(other)
        async with connect(V2) as first:
            session = (await receive(first))["session"]
            await ask(first, "subscribe", topics=[TOPIC])
            await ask(other, "publish", topic=TOPIC + "e", event="Test::one")
            seen = (await receive(first))["seq"]
            first.transport.abort()
        for name in ["Test::two", "Test::three"]:
            await ask(other, "publish", topic=TOPIC + "e", event=name)
        async with connect(V2) as second:
            await receive(second)
            answer = await ask(second, "resume", session=session, after=seen)
            # An event that is only now on its way follows like any other.
            assert answer["replayed"] <= 2 and answer["complete"], answer
            await ask(other, "publish", topic=TOPIC + "e", event="Test::four")
            names = [(await receive(second))["event"] for _ in range(3)]
            assert names == ["Test::two", "Test::three", "Test::four"], names


async def many_clients_at_once():
    clients = await asyncio.gather(*(connect(V1) for _ in range(50)))
    await asyncio.gather(*(subscribed(client, [TOPIC]) for client in clients))
    for client in clients:
        await send(client, data_message("f", "Test::many", []))

    async def rest(client):
        return [await receive(client) for _ in range(len(clients) - 1)]

    await asyncio.gather(*(rest(client) for client in clients))
    await asyncio.gather(*(client.close() for client in clients))


async def pages_from_elsewhere_are_refused():
    for origin in ["https://example.org", "null"]:
        try:
            async with connect(V2, origin=origin):
                raise AssertionError(f"{origin} was let in")
        except InvalidStatus as error:
            assert error.response.status_code == 403, error


async def the_end_is_said():
    async with connect(V1) as one, connect(V2) as two:
        await subscribed(one, [])
        await receive(two)
        print("stop", flush=True)
        assert await closed(one) == await closed(two) == (1001, "Terminating")


async def main():
    for test in [
        v1_every_type_arrives_as_it_was_sent,
        v1_errors,
        v2_requests_and_answers,
        v2_nothing_is_lost_when_the_connection_breaks,
        many_clients_at_once,
        pages_from_elsewhere_are_refused,
        the_end_is_said,
    ]:
        await test()
        print("ok", test.__name__, file=sys.stderr, flush=True)


asyncio.run(main())
