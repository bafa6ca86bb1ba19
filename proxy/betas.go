package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/view"
)

// headerBetas is the header in which a client names the features of Anthropic's under test that it asks for.
const headerBetas = "Anthropic-Beta"

// The option of a deployment that says which of them its provider is asked for, and its values beside a list of
// names with commas.
const (
	optionBetas = "anthropic_beta"
	passBetas   = "pass"
	stripBetas  = "strip"
)

// betas leaves in h what the deployment is to see of the features that the client names. Where the option does not say
// otherwise that is all of it.
func (c *Call) betas(h http.Header, d *view.Deployment) http.Header {
	option := d.Account.Or().Options[optionBetas]
	if len(h[headerBetas]) == 0 || option == "" || option == passBetas {
		return h
	}
	if kept := c.keptBetas(option); len(kept) > 0 {
		h[headerBetas] = []string{strings.Join(kept, ",")}
	} else {
		delete(h, headerBetas)
	}
	return h
}

// hostBetas adds the features to a body, where the host of Anthropic's models takes them there. It refuses requests with
// names that it does not know, so that none is sent unless the option says so.
func (c *Call) hostBetas(e *llm.Edits, body []byte, d *view.Deployment) {
	member := d.Provider.Betas
	if member == "" || len(c.header[headerBetas]) == 0 {
		return
	}
	option := d.Account.Or().Options[optionBetas]
	if option == "" {
		option = stripBetas
	}
	kept := c.keptBetas(option)
	if len(kept) == 0 || llm.Has(body, member) {
		return
	}
	list := []byte{'['}
	for _, name := range kept {
		list = llm.AppendString(llm.AppendComma(list), name)
	}
	e.Add = append(e.Add, llm.Member{Name: member, Value: append(list, ']')})
}

// keptBetas are those of the features that the client names which the option lets pass. If any is left out the client
// is told.
func (c *Call) keptBetas(option string) (kept []string) {
	listed := splitNames(option)
	named := splitNames(c.header[headerBetas]...)
	for _, name := range named {
		if option == passBetas || slices.Contains(listed, name) {
			kept = append(kept, name)
		}
	}
	if len(kept) < len(named) {
		c.dropped = append(c.dropped, "anthropic-beta")
	}
	return kept
}

// splitNames are the names in lists with commas.
func splitNames(lists ...string) (names []string) {
	for _, list := range lists {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	return names
}
