#!/bin/sh
# A mail for each event of a type. Types and topics have no control characters, so they can't forge a header.
exec outcrier tail --topic 'user/**' --type account.locked --position-file "$STATE/mail.at" --format payload --exec '
  { printf "To: ops@example.com\nMessage-ID: <outcrier-%s@example.com>\nSubject: %s on %s\n\n" "$EVENT_ID" "$EVENT_TYPE" "$EVENT_TOPIC"; cat; } |
    "${SENDMAIL:-/usr/sbin/sendmail}" -t'
