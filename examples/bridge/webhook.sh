#!/bin/sh
# Each event as CloudEvents JSON to a webhook, which answers 2xx when it has it.
exec outcrier tail --topic 'user/**' --position-file "$STATE/webhook.at" --exec '
  curl -fsS --max-time 10 -H "Content-Type: application/cloudevents+json" -H "Idempotency-Key: $EVENT_ID" \
    -o /dev/null --data-binary @- "$HOOK"'
