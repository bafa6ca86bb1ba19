package records

import (
	"context"
	"slices"

	"github.com/conclave-llm/conclave/config/dotprompt"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (rs *Records) promptNoun() *Noun[resource.Prompt, *resource.Prompt] {
	return &Noun[resource.Prompt, *resource.Prompt]{
		rs: rs, kind: "prompt", prefix: "prompt",
		all:    func(Query) []*resource.Prompt { return rs.cfg.State.Catalog().Tables().Prompts },
		find:   func(ref string) (*resource.Prompt, bool) { return find(rs.cfg.State.Catalog().Tables().Prompts, ref) },
		put:    PutPrompt,
		remove: func(id string) fsm.Command { return fsm.DeletePrompt{ID: id} },
		carry: func(next, now *resource.Prompt) {
			next.Last = max(next.Last, now.Last)
		},
		check: func(_ Caller, now, next *resource.Prompt) error {
			next.Canonicalize() // gives new versions their numbers
			return next.Continue(now)
		},
	}
}

// PutPrompt makes the command that writes a prompt; read is the version that was read, 0 for none.
func PutPrompt(next *resource.Prompt, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutPrompt{Prompt: e, Read: read}, err
}

// NewPromptVersion is a version that is added to a prompt.
type NewPromptVersion struct {
	resource.PromptVersion
	// Dotprompt is a .prompt file that holds the version; "": the other fields do.
	Dotprompt string `json:"dotprompt,omitempty"`
	// Environment gets the new version, "" for none.
	Environment string `json:"environment,omitempty"`
}

// Read is the version as the record has it.
func (v *NewPromptVersion) Read() (resource.PromptVersion, error) {
	out := v.PromptVersion
	if v.Dotprompt != "" {
		if out.Model != "" || len(out.Messages) > 0 || len(out.Parameters) > 0 || len(out.Defaults) > 0 {
			return out, invalid("dotprompt", "holds the whole version: leave out model, messages, parameters and defaults")
		}
		read, err := dotprompt.Parse([]byte(v.Dotprompt))
		if err != nil {
			return out, invalid("dotprompt", err.Error())
		}
		read.Note = out.Note
		out = *read
	}
	out.Version = 0 // the server gives it
	return out, nil
}

// AddPromptVersion adds a version to a prompt, under the next number.
func (rs *Records) AddPromptVersion(ctx context.Context, by Caller, ref string, add *NewPromptVersion) (*resource.Prompt, Written, error) {
	v, err := add.Read()
	if err != nil {
		return nil, Written{}, err
	}
	now, err := rs.Prompts.Writable(by, ref)
	if err != nil {
		return nil, Written{}, err
	}
	v.Version = now.Last + 1
	doc := Document{}
	if err := doc.Set("versions", append(slices.Clone(now.Versions), v)); err != nil {
		return nil, Written{}, err
	}
	if add.Environment != "" {
		if err := doc.Set("environments", map[string]int64{add.Environment: v.Version}); err != nil {
			return nil, Written{}, err
		}
	}
	return rs.Prompts.Patch(ctx, by, ref, now.Head().Version, doc)
}
