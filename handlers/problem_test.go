package handlers_test

import (
	"encoding/json"
	"testing"

	"github.com/outcrier/outcrier/handlers"
)

// A problem names in members of their own what a client has to leave out to go on: the
// topic that is refused, the parameter that is wrong.
func TestProblem_NamesTopicAndParameter(t *testing.T) {
	t.Parallel()
	n := closed(t, nil)
	ann := bearer(ann)
	for query, want := range map[string]handlers.Problem{
		"topic=a&topic=b/secret":  {Status: 403, Topic: "b/secret", Parameter: "topic"},
		"topic=a&topic=**":        {Status: 403, Topic: "**", Parameter: "topic"},
		"topic=a&topic=a//b":      {Status: 400, Topic: "a//b", Parameter: "topic"},
		"topic=a&topic=":          {Status: 400, Parameter: "topic"},
		"":                        {Status: 400, Parameter: "topic"},
		"topic=a&type=":           {Status: 400, Parameter: "type"},
		"topic=a&format=xml":      {Status: 400, Parameter: "format"},
		"topic=a&names=x":         {Status: 400, Parameter: "names"},
		"topic=a&topics=b":        {Status: 400, Parameter: "topics"},
		"topic=a&from=x":          {Status: 400, Parameter: "from"},
		"topic=a&from=-1h":        {Status: 400, Parameter: "from"},
		"topic=a&from=1h&from=2h": {Status: 400, Parameter: "from"},
		"topic=a&wait=x":          {Status: 400, Parameter: "wait"},
		"topic=a&limit=0":         {Status: 400, Parameter: "limit"},
		"topic=a&until=x":         {Status: 400, Parameter: "until"},
		"topic=a&batch=1s":        {Status: 400, Parameter: "batch"},
		"topic=a&%zz":             {Status: 400},
	} {
		a := do(t, "GET", n.events(query), "", append(ann, "Accept", jsonAll)...)
		a.wantProblem(t, want.Status)
		var got handlers.Problem
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Topic != want.Topic || got.Parameter != want.Parameter {
			t.Errorf("%s: %s, want topic %q and parameter %q", query, a.body, want.Topic, want.Parameter)
		}
	}
	var got handlers.Problem
	a := n.post(t, `[{"topic":"a","type":"t"},{"topic":"b","type":"t"}]`, ann...)
	a.wantProblem(t, 403, "publish")
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Topic != "b" {
		t.Errorf("%s", a.body)
	}
	var members map[string]any
	a = do(t, "GET", n.url+"/events?topic=a", "")
	if err := json.Unmarshal([]byte(a.body), &members); err != nil || len(members) != 4 {
		t.Errorf("%s", a.body)
	}
}
