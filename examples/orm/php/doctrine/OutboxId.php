<?php
declare(strict_types=1);

use Doctrine\ORM\EntityManagerInterface;
use Doctrine\ORM\Id\AbstractIdGenerator;

/**
 * Reads the id that the view drew. IDENTITY asks Doctrine 2 for outbox_id_seq, which does not exist; from Doctrine 3
 * on it is SELECT lastval(), like here.
 */
class OutboxId extends AbstractIdGenerator
{
    public function generateId(EntityManagerInterface $em, $entity): string
    {
        $connection = $em->getConnection();
        if ($entity->dedupKey === null) {
            return (string) $connection->fetchOne('SELECT lastval()');
        }
        // lastval() knows nothing of a retry. To append once more stores nothing, and returns the id of the key's event.
        return (string) $connection->fetchOne(
            'SELECT outcrier.append(?, ?, dedup_key => ?)',
            [$entity->topic, $entity->type, $entity->dedupKey],
        );
    }

    public function isPostInsertGenerator(): bool
    {
        return true;
    }
}
