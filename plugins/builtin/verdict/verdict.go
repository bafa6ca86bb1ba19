// Package verdict is what guardrails share that judge texts as wholes: whose texts they look at, from
// which score on a category counts, and what is done then.
package verdict

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// maxRoles bounds the roles of a configuration.
const maxRoles = 16

// Read reads a configuration into one that holds the defaults, and refuses what it does not know.
// An empty configuration leaves the defaults.
func Read(raw []byte, into any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, into, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	return nil
}

// Terms are the fields that configurations share. A zero value looks at all texts and blocks.
type Terms struct {
	Action  scan.Action `json:"action,omitempty"`  // block (default) or flag; with some guardrails mask
	Message string      `json:"message,omitempty"` // what the client sees of a block
	// Roles are whose texts of a request are looked at: "user", "tool", …; empty: everybody's. Texts
	// that nobody says, such as the prompt of a completion, are always looked at.
	Roles []string `json:"roles,omitempty"`
	// Latest looks only at the last turn: what stands behind the last answer of the model to which somebody has
	// said something, and so also at the beginning of an answer that the request ends with.
	Latest bool `json:"latest_only,omitempty"`
}

// Masked stands in the place of a text in which something was found, with the action mask.
const Masked = "[masked]"

// Validate checks the terms, and fills in the message that a block has if the configuration says none. more are
// actions that there are beside block and flag.
func (t *Terms) Validate(message string, more ...scan.Action) error {
	if t.Message == "" {
		t.Message = message
	}
	if t.Action == "" {
		t.Action = scan.Block
	}
	if actions := append([]scan.Action{scan.Block, scan.Flag}, more...); !slices.Contains(actions, t.Action) {
		names := make([]string, len(actions))
		for i, a := range actions {
			names[i] = string(a)
		}
		return fmt.Errorf("action: %q is not one of %s", string(t.Action), strings.Join(names, ", "))
	}
	if len(t.Roles) > maxRoles {
		return fmt.Errorf("roles: %d are more than %d", len(t.Roles), maxRoles)
	}
	for i, r := range t.Roles {
		if r == "" {
			return fmt.Errorf("roles[%d]: is empty", i)
		}
	}
	return nil
}

// Texts are the indexes of the check's texts that are looked at. Of an answer it is all.
func (t *Terms) Texts(c *sdk.Check) []int {
	first := 0
	if t.Latest && c.Hook == sdk.Before {
		first = lastTurn(c.Texts)
	}
	var out []int
	for i := first; i < len(c.Texts); i++ {
		if strings.TrimSpace(c.Texts[i].Text) == "" {
			continue
		}
		if r := c.Texts[i].Role; c.Hook != sdk.Before || len(t.Roles) == 0 || r == "" || slices.Contains(t.Roles, r) {
			out = append(out, i)
		}
	}
	return out
}

// lastTurn is the index of the first text behind the last answer of the model to which a user or a tool has
// said something. An answer at the end is no such: a client may put one there to be continued.
func lastTurn(texts []sdk.Text) int {
	said := false
	for i, t := range slices.Backward(texts) {
		switch t.Role {
		case "user", "tool", "function":
			said = said || strings.TrimSpace(t.Text) != ""
		case "assistant", "model":
			if said {
				return i + 1
			}
		}
	}
	return 0
}

// Decide is the verdict about what was found; nothing found passes.
func (t *Terms) Decide(found []sdk.Finding) sdk.Verdict {
	v := sdk.Pass()
	if len(found) > 0 && t.Action == scan.Block {
		v = sdk.Block(t.Message)
	}
	v.Findings = found
	return v
}

// Thresholds say from which score on a category counts.
type Thresholds struct {
	Threshold  *float64           `json:"threshold,omitempty"`  // of every category that has none of its own
	Thresholds map[string]float64 `json:"thresholds,omitempty"` // by category
}

// ErrRange is returned for a threshold that no score can have.
var ErrRange = errors.New("is not from 0 to 1")

// Validate checks the thresholds; categories are all that there are, nil if nobody knows.
func (t *Thresholds) Validate(categories []string) error {
	if t.Threshold != nil && (*t.Threshold < 0 || *t.Threshold > 1) {
		return fmt.Errorf("threshold: %v %w", *t.Threshold, ErrRange)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Thresholds)) {
		if v := t.Thresholds[name]; v < 0 || v > 1 {
			return fmt.Errorf("thresholds.%s: %v %w", name, v, ErrRange)
		}
		if categories != nil && !slices.Contains(categories, name) {
			return fmt.Errorf("thresholds.%s: there is no such category; there are %s", name, strings.Join(categories, ", "))
		}
	}
	return nil
}

// Of is the category's threshold, or otherwise if the configuration says none.
func (t *Thresholds) Of(category string, otherwise float64) float64 {
	if v, ok := t.Said(category); ok {
		return v
	}
	return otherwise
}

// Said is the threshold that the configuration says for the category, if it says one.
func (t *Thresholds) Said(category string) (float64, bool) {
	if v, ok := t.Thresholds[category]; ok {
		return v, true
	}
	if t.Threshold != nil {
		return *t.Threshold, true
	}
	return 0, false
}

// IsZero says that the configuration says none at all.
func (t *Thresholds) IsZero() bool { return t.Threshold == nil && len(t.Thresholds) == 0 }
