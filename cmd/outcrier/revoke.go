package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/outcrier/outcrier/outbox"
)

// revokeConfig is the settings of "outcrier token revoke".
type revokeConfig struct {
	ConnectionSettings
	Schema outbox.Schema `name:"schema" default:"outcrier" help:"the schema with all tables and functions of the outbox"`
	Sub    string        `scope:"revoke" name:"sub" help:"revoke all tokens of this subject that were issued until now"`
	JTI    string        `scope:"revoke" name:"jti" help:"revoke the token with this id (jti)"`
	Reason string        `scope:"revoke" name:"reason" help:"the reason, which is kept on record"`
	Within time.Duration `scope:"revoke" name:"expires-within" default:"0" allow:"0|1s.." help:"the time after which all these tokens have expired, if you know it: the revocation is dropped then"`
	LogSettings
}

func (revokeConfig) Help() string {
	return `Revokes all tokens of a subject that were issued until now, or one token by its id:
every node refuses them from then on, and ends their streams. Tokens that the
subject is issued later are good.

  outcrier token revoke --sub ann --reason 'laptop stolen'

It needs a role that may call outcrier.revoke: outcrier_operator, or the owner.`
}

func (c *revokeConfig) check(r *report) {
	c.ConnectionSettings.check(r)
	r.require("database-url", c.DatabaseURL)
	if err := c.Schema.Check(); err != nil {
		r.reject("schema", "%v", err)
	}
	if (c.Sub == "") == (c.JTI == "") {
		r.reject("sub", "want either it or --jti")
	}
	r.require("reason", c.Reason)
}

func (c revokeConfig) Run(ctx context.Context, p process) error {
	conn, err := pgx.Connect(ctx, c.DatabaseURL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var until *time.Time
	if c.Within > 0 {
		at := time.Now().Add(c.Within)
		until = &at
	}
	var id int64
	if err := conn.QueryRow(ctx, c.Schema.SQL(`SELECT outcrier.revoke($1, $2, $3, $4)`), c.Sub, c.JTI, c.Reason, until).Scan(&id); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "revocation %d: nodes refuse these tokens, and end their streams\n", id)
	return err
}
