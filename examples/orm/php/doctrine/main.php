<?php
// Append events with Doctrine: php main.php postgres://…
declare(strict_types=1);

require __DIR__ . '/bootstrap.php';

use Doctrine\ORM\EntityManager;

stack('Doctrine ORM', debian('php-doctrine-orm'));

function persist(EntityManager $em, Event $event): string
{
    $em->persist($event);
    $em->flush();
    return $event->id;
}

scene('one', fn () => persist($em, new Event('orm/one', 'item.added', ['item' => 1])));

scene('many', function () use ($em) {
    $events = array_map(fn ($n) => new Event('orm/many', 'item.added', ['item' => $n]), [1, 2, 3]);
    foreach ($events as $event) {
        $em->persist($event);
    }
    $em->flush();
    return array_column($events, 'id');
});

scene('transaction', fn () => $em->wrapInTransaction(function () use ($em) {
    $item = new Item('lamp');
    $em->persist($item);
    $em->flush();
    return persist($em, new Event('orm/transaction', 'item.added', ['item' => (int) $item->id]));
}));

scene('rollback', function () use ($em) {
    $em->beginTransaction();
    $em->persist(new Item('ghost'));
    $em->persist(new Event('orm/rollback', 'item.added'));
    $em->flush();
    $em->rollback();
});

scene('returning', fn () => $em->wrapInTransaction(function () use ($em) {
    $event = new Event('orm/returning', 'item.added', ['item' => 4]);
    persist($em, $event);
    $em->refresh($event); // possible until the commit
    if ($event->createdAt === null || $event->source !== '/') {
        throw new RuntimeException('not read back');
    }
    return $event->id;
}));

// Doctrine sends NULL for every property that is not set.
scene('null', fn () => persist($em, new Event('orm/null', 'item.added')));

skip('default', 'Doctrine has no word for DEFAULT');

scene('json', fn () => persist($em, new Event(
    'orm/json',
    'item.added',
    payload: ['item' => ['name' => 'Lämpchen 灯', 'tags' => ['new', 2, null], 'price' => 9.5]],
    headers: ['traceparent' => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
)));

scene('retry', function () use ($em) {
    $pay = fn () => $em->wrapInTransaction(function () use ($em) {
        $event = new Event('orm/retry', 'item.paid', ['item' => 7]);
        $event->dedupKey = 'item-7-paid';
        return persist($em, $event);
    });
    $first = $pay();
    $em->clear(); // as in another request
    return [$first, $pay()];
});

scene('clone', function () use ($em) {
    $event = $em->wrapInTransaction(function () use ($em) {
        persist($em, new Event('orm/clone', 'item.added', ['item' => 8]));
        $em->clear();
        return $em->getRepository(Event::class)->findOneBy(['topic' => 'orm/clone']);
    });
    $copy = clone $event; // new to the entity manager, which draws another id
    return [$event->id, persist($em, $copy)];
});

scene('read', fn () => $em->wrapInTransaction(function () use ($em) {
    persist($em, new Event('orm/read', 'item.added', ['item' => 9]));
    $em->clear();
    return $em->getRepository(Event::class)->findOneBy(['topic' => 'orm/read'])->id;
}));
