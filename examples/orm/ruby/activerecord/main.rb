# Append events with ActiveRecord: ruby main.rb postgres://…
require_relative "../scenes"
require_relative "models"

ActiveRecord::Base.establish_connection(ARGV.fetch(0))

stack "ActiveRecord", ActiveRecord.version

scene "one" do
  Event.create!(topic: "orm/one", type: "item.added", payload: { item: 1 }).id
end

scene "many" do
  rows = [1, 2, 3].map { |n| { topic: "orm/many", type: "item.added", payload: { item: n } } }
  EventRow.insert_all!(rows, returning: :id).map { |row| row["id"] }
end

scene "transaction" do
  Event.transaction do
    item = Item.create!(name: "lamp")
    Event.create!(topic: "orm/transaction", type: "item.added", payload: { item: item.id }).id
  end
end

scene "rollback" do
  Event.transaction do
    Item.create!(name: "ghost")
    Event.create!(topic: "orm/rollback", type: "item.added")
    raise ActiveRecord::Rollback
  end
end

scene "returning" do
  Event.transaction do
    event = Event.create!(topic: "orm/returning", type: "item.added", payload: { item: 4 })
    event.reload # the id comes with the INSERT, the rest can be read until the commit
    raise "not read back" unless event.created_at && event.source == "/"
    event.id
  end
end

scene "null" do
  # Rails 7 and later send NULL for what is not set, older ones only what is.
  Event.send(Event.respond_to?(:partial_inserts=) ? :partial_inserts= : :partial_writes=, false)
  Event.create!(topic: "orm/null", type: "item.added").id
end

scene "default" do
  # insert_all! sends the columns that it is given, and no other.
  EventRow.insert_all!([{ topic: "orm/default", type: "item.added" }], returning: :id).first["id"]
end

scene "json" do
  Event.create!(topic: "orm/json", type: "item.added",
                payload: { item: { name: "Lämpchen 灯", tags: ["new", 2, nil], price: 9.5 } },
                headers: { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" }).id
end

scene "retry" do
  pay = lambda do
    Event.transaction do
      Event.create!(topic: "orm/retry", type: "item.paid", payload: { item: 7 }, dedup_key: "item-7-paid").id
    end
  end
  [pay.call, pay.call]
end

scene "clone" do
  event = Event.transaction do
    Event.create!(topic: "orm/clone", type: "item.added", payload: { item: 8 })
    Event.find_by!(topic: "orm/clone")
  end
  copy = event.dup
  copy.save!
  [event.id, copy.id]
end

scene "read" do
  Event.transaction do
    Event.create!(topic: "orm/read", type: "item.added", payload: { item: 9 })
    Event.find_by!(topic: "orm/read").id
  end
end
