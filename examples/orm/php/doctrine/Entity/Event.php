<?php
declare(strict_types=1);

use Doctrine\ORM\Mapping as ORM;

#[ORM\Entity]
#[ORM\Table(name: 'outbox')]
class Event
{
    #[ORM\Id, ORM\Column(type: 'bigint')]
    #[ORM\GeneratedValue(strategy: 'CUSTOM'), ORM\CustomIdGenerator(class: OutboxId::class)]
    public ?string $id = null;

    #[ORM\Column(name: 'dedup_key', type: 'text', nullable: true)]
    public ?string $dedupKey = null;

    #[ORM\Column(name: 'deliver_at', type: 'datetimetz_immutable', nullable: true)]
    public ?DateTimeImmutable $deliverAt = null;

    #[ORM\Column(name: 'created_at', type: 'datetimetz_immutable', nullable: true, insertable: false)]
    public ?DateTimeImmutable $createdAt = null;

    #[ORM\Column(type: 'text', nullable: true)]
    public ?string $source = null;

    public function __construct(
        #[ORM\Column(type: 'text')]
        public string $topic,
        #[ORM\Column(type: 'text')]
        public string $type,
        #[ORM\Column(type: 'json', nullable: true)]
        public ?array $payload = null,
        #[ORM\Column(type: 'json', nullable: true, options: ['jsonb' => true])]
        public ?array $headers = null,
    ) {
    }
}
