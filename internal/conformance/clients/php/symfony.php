<?php

// Symfony's EventSourceHttpClient, as its documentation uses it.

require '/usr/share/php/Symfony/Component/HttpClient/autoload.php';

use Symfony\Component\HttpClient\Chunk\ServerSentEvent;
use Symfony\Component\HttpClient\EventSourceHttpClient;

$client = new EventSourceHttpClient(null, 0.3);
$last = null;
while (true) { // an end of the stream it passes on, and comes back from all else
    $source = $client->connect($argv[1], $last ? ['headers' => ['Last-Event-ID' => $last]] : []);
    foreach ($client->stream($source) as $chunk) {
        if ($chunk instanceof ServerSentEvent) {
            json_decode($chunk->getData(), false, 512, JSON_THROW_ON_ERROR);
            echo json_encode(['id' => $chunk->getId(), 'type' => $chunk->getType(), 'data' => $chunk->getData()]), "\n";
            $last = $chunk->getId() ?: $last;
        }
    }
    usleep(300_000);
}
