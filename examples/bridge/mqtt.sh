#!/bin/sh
# Each event's payload to an MQTT broker, on a topic like its own. With -q 1 it is done when the broker has it.
exec outcrier tail --topic 'user/**' --position-file "$STATE/mqtt.at" --format payload --exec '
  mosquitto_pub -h "$BROKER" -p "$BROKER_PORT" -q 1 -t "outcrier/$EVENT_TOPIC" -s'
