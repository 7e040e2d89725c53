package main

import (
	"gorm.io/gorm"

	"github.com/outcrier/outcrier/examples/orm/go/scenes"
)

// tools shows what gorm's migrator does to a database with an outbox.
func tools(db *gorm.DB) {
	scenes.Run("AutoMigrate", func() (any, error) {
		return nil, db.AutoMigrate(&Item{}) // not Event: gorm would make a table of it
	})
}
