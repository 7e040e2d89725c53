package tamarind

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// Request is somebody's call for help.
type Request struct {
	Person string `json:"person"`
	// About is one line of up to 64 characters, like the code of the event that
	// made them ask; may be empty.
	About string `json:"about"`
}

const aboutLimit = 64

// AskForHelp tells the reviewers that person needs them. Those locked out may ask
// too: they most of all.
func (b *Business) AskForHelp(ctx context.Context, person, about string) (Request, error) {
	about, err := line("about", about, aboutLimit)
	if err != nil {
		return Request{}, err
	}
	request := Request{Person: person, About: about}
	err = b.transaction(ctx, func(tx pgx.Tx) error {
		p, err := lockPerson(ctx, tx, person, "FOR SHARE")
		if err != nil {
			return err
		}
		topics := []string{"user/" + p.Name}
		if p.Role != roleReviewer {
			topics = append(topics, "reviewers")
		}
		drafts := make([]outbox.Draft, len(topics))
		for i, topic := range topics {
			drafts[i] = outbox.Draft{Topic: topic, Type: "support.requested", Payload: request, Source: "/demo/support"}
		}
		_, err = appendEvents(ctx, tx, drafts...)
		return err
	})
	return request, err
}
