<?php
// The entity manager, as an application sets it up.
declare(strict_types=1);

require '/usr/share/php/Doctrine/ORM/autoload.php';
require '/usr/share/php/Symfony/Component/Cache/autoload.php';
require __DIR__ . '/../scenes.php';
require __DIR__ . '/Entity/Event.php';
require __DIR__ . '/Entity/Item.php';
require __DIR__ . '/OutboxId.php';

use Doctrine\DBAL\DriverManager;
use Doctrine\DBAL\Types\Type;
use Doctrine\DBAL\Types\VarDateTimeImmutableType;
use Doctrine\ORM\EntityManager;
use Doctrine\ORM\ORMSetup;

// Doctrine's own type knows no microseconds, which created_at has.
Type::overrideType('datetimetz_immutable', VarDateTimeImmutableType::class);

$url = address();
$connection = DriverManager::getConnection([
    'driver' => 'pdo_pgsql', 'host' => $url['host'], 'port' => $url['port'], 'dbname' => ltrim($url['path'], '/'),
    'user' => $url['user'], 'password' => rawurldecode($url['pass']),
]);
$config = ORMSetup::createAttributeMetadataConfiguration([__DIR__ . '/Entity'], isDevMode: true);

// The schema tool and migrations drop nothing of the outbox's schema (Symfony: doctrine.dbal.schema_filter) and make no
// table of the entity (doctrine.orm.schema_ignore_classes).
$connection->getConfiguration()->setSchemaAssetsFilter(
    fn ($asset) => !str_starts_with(is_string($asset) ? $asset : $asset->getName(), 'outcrier.'),
);
$config->setSchemaIgnoreClasses([Event::class]);

$em = new EntityManager($connection, $config);
