// What Sequelize's sync does to a database with an outbox: tsx tools.ts postgres://…
import { scene } from '../scenes.ts';
import { sequelize } from './models.ts';

await scene('sequelize.sync()', async () => void await sequelize.sync());
await scene('sequelize.sync({ alter: true })', async () => void await sequelize.sync({ alter: true }));
await scene('sequelize.sync({ force: true })', async () => void await sequelize.sync({ force: true }));

await sequelize.close();
