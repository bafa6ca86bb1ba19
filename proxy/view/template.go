package view

import (
	"context"
	"fmt"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/llm/chattemplate"
	"github.com/conclave-llm/conclave/resource"
)

// readTime bounds the reading of a template that this node has not read yet.
const readTime = 5 * time.Second

// template is that of a deployment, nil for none. Those in Jinja are read and compiled once.
func (v *Cache) template(d *resource.Deployment) (*chattemplate.Template, error) {
	p := d.PromptTemplate
	if p == nil {
		return nil, nil
	}
	parts := chattemplate.Parts{Frames: make(map[string]chattemplate.Frame, len(p.Roles)), Initial: p.Initial, Final: p.Final, BOS: p.BOS, EOS: p.EOS}
	for role, f := range p.Roles {
		parts.Frames[role] = chattemplate.Frame{Before: f.Pre, After: f.Post}
	}
	if p.Jinja == "" {
		return chattemplate.New(parts), nil
	}
	key := [...]string{p.Jinja, p.BOS, p.EOS}
	if t, ok := v.templates.Load(key); ok {
		return t.(*chattemplate.Template), nil
	}
	if v.Blobs == nil {
		return nil, fmt.Errorf("prompt template %s: this node reads no blobs", p.Jinja)
	}
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	source, err := v.Blobs(ctx, p.Jinja)
	if err != nil {
		return nil, fmt.Errorf("prompt template: %w", err)
	}
	t, err := chattemplate.Compile(string(source), parts)
	if err != nil {
		return nil, fmt.Errorf("prompt template %s: %w", p.Jinja, err)
	}
	v.templates.Store(key, t)
	return t, nil
}

// Prompt writes a conversation in the words of the deployment's template; nil: it has none.
func (d *Deployment) Prompt() func([]llm.Turn) (string, error) {
	if d.Template == nil {
		return nil
	}
	return d.Template.Render
}
