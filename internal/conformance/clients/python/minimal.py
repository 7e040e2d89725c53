"""Server-Sent Events by Python's standard library alone."""
import http.client
import json
import sys
import time
import urllib.error
import urllib.request

last, pause = "", 1.0
while True:
    try:
        headers = {"Accept": "text/event-stream"}
        if last:
            headers["Last-Event-ID"] = last
        with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=headers), timeout=45) as response:
            if response.status == 204:
                break
            event = {"type": "message", "data": []}
            for line in response:
                name, _, value = line.decode().rstrip("\r\n").partition(":")
                value = value.removeprefix(" ")
                if name == "data":
                    event["data"].append(value)
                elif name == "event":
                    event["type"] = value
                elif name == "id":
                    event["id"] = value
                elif name == "retry":
                    pause = int(value) / 1000
                elif name == "" and value == "" and line.strip() == b"":
                    last = event.get("id", last)
                    if event["data"]:
                        data = "\n".join(event["data"])
                        json.loads(data)
                        print(json.dumps({"id": last, "type": event["type"], "data": data}), flush=True)
                    event = {"type": "message", "data": []}
    except (OSError, http.client.HTTPException, urllib.error.URLError) as error:
        print(error, file=sys.stderr)
    time.sleep(pause)
