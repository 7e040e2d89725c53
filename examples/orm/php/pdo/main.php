<?php
// Append events with PDO, no ORM: php main.php postgres://…
declare(strict_types=1);

require __DIR__ . '/../scenes.php';

$url = address();
$db = new PDO(
    sprintf('pgsql:host=%s;port=%d;dbname=%s', $url['host'], $url['port'], ltrim($url['path'], '/')),
    $url['user'],
    rawurldecode($url['pass']),
    [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC],
);

stack('PDO', phpversion('pdo_pgsql'));

/** Inserts a row and returns it: RETURNING gives the right id also for a retry, lastInsertId does not. */
function insert(PDO $db, array $row): array
{
    $columns = implode(', ', array_keys($row));
    $marks = implode(', ', array_fill(0, count($row), '?'));
    $statement = $db->prepare("INSERT INTO outbox ($columns) VALUES ($marks) RETURNING *");
    $statement->execute(array_values($row));
    return $statement->fetch();
}

scene('one', function () use ($db) {
    $db->prepare('INSERT INTO outbox (topic, type, payload) VALUES (?, ?, ?)')
        ->execute(['orm/one', 'item.added', json_encode(['item' => 1])]);
    return (int) $db->lastInsertId();
});

scene('many', function () use ($db) {
    $statement = $db->prepare('INSERT INTO outbox (topic, type, payload) VALUES (?, ?, ?) RETURNING id');
    $ids = [];
    foreach ([1, 2, 3] as $n) {
        $statement->execute(['orm/many', 'item.added', json_encode(['item' => $n])]);
        $ids[] = $statement->fetchColumn();
    }
    return $ids;
});

scene('transaction', function () use ($db) {
    $db->beginTransaction();
    $item = $db->query("INSERT INTO item (name) VALUES ('lamp') RETURNING id")->fetchColumn();
    $event = insert($db, ['topic' => 'orm/transaction', 'type' => 'item.added', 'payload' => json_encode(['item' => $item])]);
    $db->commit();
    return $event['id'];
});

scene('rollback', function () use ($db) {
    $db->beginTransaction();
    $db->exec("INSERT INTO item (name) VALUES ('ghost')");
    insert($db, ['topic' => 'orm/rollback', 'type' => 'item.added']);
    $db->rollBack();
});

scene('returning', function () use ($db) {
    $event = insert($db, ['topic' => 'orm/returning', 'type' => 'item.added', 'payload' => json_encode(['item' => 4])]);
    if ($event['created_at'] === null || $event['source'] !== '/') {
        throw new RuntimeException('not read back');
    }
    return $event['id'];
});

scene('null', fn () => insert($db, [
    'id' => null, 'topic' => 'orm/null', 'type' => 'item.added', 'payload' => null, 'source' => null, 'headers' => null,
    'dedup_key' => null, 'deliver_at' => null, 'created_at' => null,
])['id']);

scene('default', fn () => $db->query(
    "INSERT INTO outbox (id, topic, type, payload, source, headers, dedup_key, deliver_at, created_at)
     VALUES (DEFAULT, 'orm/default', 'item.added', DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT) RETURNING id"
)->fetchColumn());

scene('json', fn () => insert($db, [
    'topic' => 'orm/json',
    'type' => 'item.added',
    'payload' => json_encode(['item' => ['name' => 'Lämpchen 灯', 'tags' => ['new', 2, null], 'price' => 9.5]]),
    'headers' => json_encode(['traceparent' => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']),
])['id']);

scene('retry', function () use ($db) {
    $pay = function () use ($db) {
        $db->beginTransaction();
        $event = insert($db, [
            'topic' => 'orm/retry', 'type' => 'item.paid', 'payload' => json_encode(['item' => 7]), 'dedup_key' => 'item-7-paid',
        ]);
        $db->commit();
        return $event['id'];
    };
    return [$pay(), $pay()];
});

scene('clone', function () use ($db) {
    $db->beginTransaction();
    insert($db, ['topic' => 'orm/clone', 'type' => 'item.added', 'payload' => json_encode(['item' => 8])]);
    $event = $db->query("SELECT * FROM outbox WHERE topic = 'orm/clone'")->fetch();
    $db->commit();
    return [$event['id'], insert($db, $event)['id']];
});

scene('read', function () use ($db) {
    $db->beginTransaction();
    insert($db, ['topic' => 'orm/read', 'type' => 'item.added', 'payload' => json_encode(['item' => 9])]);
    $id = $db->query("SELECT id FROM outbox WHERE topic = 'orm/read'")->fetchColumn();
    $db->commit();
    return $id;
});
