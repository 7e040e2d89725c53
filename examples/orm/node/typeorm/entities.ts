import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

// synchronize: false keeps "schema:sync" and "migration:generate" from the view.
@Entity('outbox', { synchronize: false })
export class Event {
  @PrimaryGeneratedColumn({ type: 'bigint' })
  id!: string;

  @Column('text')
  topic!: string;

  @Column('text')
  type!: string;

  @Column('json', { nullable: true, default: {} })
  payload!: object | null;

  @Column('text', { nullable: true, default: '/' })
  source!: string | null;

  @Column('jsonb', { nullable: true })
  headers!: Record<string, string> | null;

  @Column('text', { nullable: true })
  dedup_key!: string | null;

  @Column('timestamptz', { nullable: true })
  deliver_at!: Date | null;

  @Column('timestamptz', { nullable: true, default: () => 'now()' })
  created_at!: Date | null;
}

@Entity('item')
export class Item {
  @PrimaryGeneratedColumn('identity', { type: 'bigint', generatedIdentity: 'BY DEFAULT' })
  id!: string;

  @Column('text')
  name!: string;
}
