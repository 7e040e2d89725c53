import { DataTypes, Model, Sequelize } from 'sequelize';
import { url } from '../scenes.ts';

export const sequelize = new Sequelize(url, { dialect: 'postgres', logging: false });

export class Event extends Model {
  declare id: string;
  declare created_at: Date;
  declare source: string;

  // sequelize.sync() and drop() leave the view alone.
  static async sync() { return this as any; }
  static async drop() {}
}
Event.init({
  id: { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true },
  topic: { type: DataTypes.TEXT, allowNull: false },
  type: { type: DataTypes.TEXT, allowNull: false },
  payload: DataTypes.JSON,
  source: DataTypes.TEXT,
  headers: DataTypes.JSONB,
  dedup_key: DataTypes.TEXT,
  deliver_at: DataTypes.DATE,
  created_at: DataTypes.DATE,
}, { sequelize, tableName: 'outbox', timestamps: false });

export class Item extends Model {
  declare id: string;
}
Item.init({
  id: { type: DataTypes.BIGINT, primaryKey: true, autoIncrement: true },
  name: { type: DataTypes.TEXT, allowNull: false },
}, { sequelize, tableName: 'item', timestamps: false });
