<?php
// What Doctrine's schema commands do to a database with an outbox: php tools.php postgres://…
declare(strict_types=1);

require __DIR__ . '/bootstrap.php';

use Doctrine\ORM\Tools\SchemaTool;

$metadata = $em->getMetadataFactory()->getAllMetadata();
$tool = new SchemaTool($em);

scene('orm:schema-tool:drop, create', function () use ($tool, $metadata) {
    $tool->dropSchema($metadata);
    $tool->createSchema($metadata);
});

scene('orm:schema-tool:update --complete', function () use ($tool, $metadata) {
    $sql = $tool->getUpdateSchemaSql($metadata);
    if ($sql !== []) {
        throw new RuntimeException(implode("\n", $sql));
    }
});
