"""A stream by the library websockets."""
import asyncio
import json
import sys
import urllib.parse

import websockets


async def follow(url):
    position, pause = "", 1.0
    while True:
        address = url + ("&last_event_id=" + urllib.parse.quote(position) if position else "")
        try:
            async with websockets.connect(address, subprotocols=["outcrier"], max_size=None) as socket:
                async for text in socket:
                    message = json.loads(text)
                    event = message["event"]
                    if event["type"] in ("outcrier.hello", "outcrier.goodbye"):
                        pause = event["data"]["retry"] / 1000
                    if not event["type"].startswith("outcrier."):
                        print(json.dumps({"id": message["position"], "type": event["type"], "data": text}), flush=True)
                    position = message.get("position", position)
        except (OSError, websockets.WebSocketException, asyncio.TimeoutError) as error:
            print(error, file=sys.stderr)
        await asyncio.sleep(pause)


asyncio.run(follow(sys.argv[1]))
