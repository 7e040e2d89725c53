#!/bin/sh
# Server-Sent Events by curl, which reads them, and awk, which parses them.
last=$(mktemp) && trap 'rm -f "$last"' EXIT
while :; do
  curl -sN -H 'Accept: text/event-stream' -H "Last-Event-ID: $(cat "$last")" "$1" | mawk -W interactive -v last="$last" '
    function quoted(text) { gsub(/["\\]/, "\\\\&", text); gsub(/\t/, "\\t", text); return "\"" text "\"" }
    /^id: /    { id = substr($0, 5) }
    /^event: / { type = substr($0, 8) }
    /^data: /  { data = substr($0, 7) }
    /^$/ {
      if (id != "") { printf "%s", id >last; close(last) }
      if (data != "") print "{\"id\":" quoted(id) ",\"type\":" quoted(type == "" ? "message" : type) ",\"data\":" quoted(data) "}"
      type = data = ""
    }'
  sleep 0.3
done
