package auth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Grant is one right of admins. There are several, so that a scraper of metrics can't read
// payloads, and a person on call can't erase events.
type Grant string

const (
	// GrantMetrics is for GET /metrics.
	GrantMetrics Grant = "metrics"
	// GrantRead is for all that the admin page shows, payloads included.
	GrantRead Grant = "read"
	// GrantOperate is for ending streams, cancelling and sending again events, and for
	// revoking tokens.
	GrantOperate Grant = "operate"
	// GrantCatalogue is for the catalogue of types: to read and to change it.
	GrantCatalogue Grant = "catalogue"
	// GrantErase is for erasing and redacting events.
	GrantErase Grant = "erase"
)

// Grants returns all grants of admins.
func Grants() []Grant {
	return []Grant{GrantMetrics, GrantRead, GrantOperate, GrantCatalogue, GrantErase}
}

// ParseGrants reads "true" (or "all") for all grants, "false" or "" for none, or names
// separated by commas.
func ParseGrants(text string) (all bool, grants []Grant, err error) {
	switch text {
	case "true", "all":
		return true, nil, nil
	case "", "false":
		return false, nil, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		grant := Grant(strings.TrimSpace(name))
		if err := grant.check(); err != nil {
			return false, nil, err
		}
		grants = append(grants, grant)
	}
	return false, grants, nil
}

func (g Grant) check() error {
	if !slices.Contains(Grants(), g) {
		return fmt.Errorf("unknown grant %.40q; allowed are %s", string(g), join(Grants(), "and"))
	}
	return nil
}

// join lists grants for a reader: a, b and c.
func join(grants []Grant, last string) string {
	var text strings.Builder
	for i, grant := range grants {
		switch {
		case i > 0 && i == len(grants)-1:
			text.WriteString(" " + last + " ")
		case i > 0:
			text.WriteString(", ")
		}
		text.WriteString(string(grant))
	}
	return text.String()
}

// adminClaim reads the member admin of the claim outcrier: true for all grants, or a
// list of them.
func adminClaim(claim map[string]any) (all bool, grants []Grant, err error) {
	list, is := claim["admin"].([]any)
	if !is {
		if all, _, err = optional[bool](claim, "admin"); err != nil {
			return false, nil, fmt.Errorf("admin must be true or false, or a list of %s", join(Grants(), "and"))
		}
		return all, nil, nil
	}
	for _, element := range list {
		name, _ := element.(string)
		if err := Grant(name).check(); err != nil {
			return false, nil, fmt.Errorf("admin: %w", err)
		}
		if !slices.Contains(grants, Grant(name)) {
			grants = append(grants, Grant(name))
		}
	}
	return false, grants, nil
}

// May refuses an identity that has none of these grants; Admin is all of them.
func (i Identity) May(anyOf ...Grant) error {
	if i.Admin || slices.ContainsFunc(anyOf, func(g Grant) bool { return slices.Contains(i.Grants, g) }) {
		return nil
	}
	return &Refusal{
		Status: http.StatusForbidden, Code: "insufficient_scope", Grants: anyOf,
		Detail: fmt.Sprintf("the admin grant %s is needed, and not granted", join(anyOf, "or")),
	}
}

// Granted returns the grants of an admin; none for others.
func (i Identity) Granted() []Grant {
	if i.Admin {
		return Grants()
	}
	return slices.Clone(i.Grants)
}
