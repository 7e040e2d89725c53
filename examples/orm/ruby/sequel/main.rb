# Append events with Sequel: ruby main.rb postgres://…
require_relative "../scenes"
require "sequel"

DB = Sequel.connect(ARGV.fetch(0))
DB.extension :pg_json

stack "Sequel", Sequel.version

class Event < Sequel::Model(:outbox)
  set_primary_key :id
end

class Item < Sequel::Model(:item)
end

scene "one" do
  Event.create(topic: "orm/one", type: "item.added", payload: Sequel.pg_json({ item: 1 })).id
end

scene "many" do
  rows = [1, 2, 3].map { |n| ["orm/many", "item.added", Sequel.pg_json({ item: n })] }
  Event.dataset.returning(:id).import(%i[topic type payload], rows)
end

scene "transaction" do
  DB.transaction do
    item = Item.create(name: "lamp")
    Event.create(topic: "orm/transaction", type: "item.added", payload: Sequel.pg_json({ item: item.id })).id
  end
end

scene "rollback" do
  DB.transaction(rollback: :always) do
    Item.create(name: "ghost")
    Event.create(topic: "orm/rollback", type: "item.added")
    nil
  end
end

scene "returning" do
  DB.transaction do
    # A model reads its row back after the INSERT, inside the transaction.
    event = Event.create(topic: "orm/returning", type: "item.added", payload: Sequel.pg_json({ item: 4 }))
    raise "not read back" unless event.created_at && event.source == "/"
    event.id
  end
end

scene "null" do
  Event.create(topic: "orm/null", type: "item.added", payload: nil, source: nil, headers: nil,
               dedup_key: nil, deliver_at: nil, created_at: nil).id
end

scene "default" do
  # A column that is not set is left out of the INSERT.
  Event.create(topic: "orm/default", type: "item.added").id
end

scene "json" do
  payload = { item: { name: "Lämpchen 灯", tags: ["new", 2, nil], price: 9.5 } }
  headers = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }
  Event.create(topic: "orm/json", type: "item.added",
               payload: Sequel.pg_json(payload), headers: Sequel.pg_jsonb(headers)).id
end

scene "retry" do
  pay = lambda do
    DB.transaction do
      Event.create(topic: "orm/retry", type: "item.paid", payload: Sequel.pg_json({ item: 7 }),
                   dedup_key: "item-7-paid").id
    end
  end
  [pay.call, pay.call]
end

scene "clone" do
  event = DB.transaction do
    Event.create(topic: "orm/clone", type: "item.added", payload: Sequel.pg_json({ item: 8 }))
    Event.first(topic: "orm/clone")
  end
  copy = Event.create(event.values.except(:id))
  [event.id, copy.id]
end

scene "read" do
  DB.transaction do
    Event.create(topic: "orm/read", type: "item.added", payload: Sequel.pg_json({ item: 9 }))
    Event.first(topic: "orm/read").id
  end
end
