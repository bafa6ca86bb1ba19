package providers

import (
	"context"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// SignIns are the sign-ins of all nodes at providers. Their errors are *llm.Error or those of package resource.
type SignIns interface {
	// Begin asks a provider for a code on this node. Once a person has entered it, Store gets what the provider gives.
	Begin(ctx context.Context, o SignInOrder) (client.SignIn, error)
	// SignIn tells of a sign-in, whichever node began it.
	SignIn(ctx context.Context, id string) (client.SignIn, error)
	// CancelSignIn ends a sign-in, unless it is being stored or has ended.
	CancelSignIn(ctx context.Context, id string) (client.SignIn, error)
}

// SignInOrder says what a sign-in is for.
type SignInOrder struct {
	Provider   string
	Credential *resource.Credential // without an id: a new one
	// Store puts the secret into the credential. It may be called again after an error.
	Store func(ctx context.Context, text secret.Text) error
}

// Desk begins sign-ins for credentials.
type Desk struct {
	Records *records.Records
	SignIns SignIns // nil: nobody signs in
}

// Begin begins a sign-in. What comes of it is written in the name of the caller, if he may still write then.
func (d *Desk) Begin(ctx context.Context, by records.Caller, name string, b client.BeginSignIn) (client.SignIn, error) {
	p, ok := provider.Lookup(name)
	if !ok {
		return client.SignIn{}, unknown(name)
	}
	field := p.SignIn()
	if field == "" {
		return client.SignIn{}, &resource.Invalid{Field: "provider", Reason: "knows no sign-in: give its credential the key, as in conclave credential create"}
	}
	if d.SignIns == nil {
		return client.SignIn{}, noSignIns()
	}
	c, err := d.credential(by, name, &b)
	if err != nil {
		return client.SignIn{}, err
	}
	return d.SignIns.Begin(ctx, SignInOrder{Provider: name, Credential: c, Store: func(ctx context.Context, text secret.Text) error {
		_, err := d.Records.SignedIn(ctx, by, c, field, text.Reveal())
		return err
	}})
}

func noSignIns() error { return &llm.Error{Kind: llm.Unavailable, Message: "nobody signs in here"} }

// Get tells of a sign-in.
func (d *Desk) Get(ctx context.Context, id string) (client.SignIn, error) {
	if d.SignIns == nil {
		return client.SignIn{}, noSignIns()
	}
	return d.SignIns.SignIn(ctx, id)
}

// Cancel ends a sign-in.
func (d *Desk) Cancel(ctx context.Context, id string) (client.SignIn, error) {
	if d.SignIns == nil {
		return client.SignIn{}, noSignIns()
	}
	return d.SignIns.CancelSignIn(ctx, id)
}

// credential is the one that is signed in for, or what a new one will be.
func (d *Desk) credential(by records.Caller, name string, b *client.BeginSignIn) (*resource.Credential, error) {
	c, err := d.Records.Credentials.One(by, b.Credential)
	switch {
	case err != nil: // a new one
		c = &resource.Credential{Name: b.Credential, Provider: name, Options: b.Options}
		if err := c.Validate(); err != nil {
			return nil, err
		}
	case c.Provider != name:
		return nil, &resource.Invalid{Field: "credential", Reason: "is not one of the provider " + name}
	case len(b.Options) > 0:
		return nil, &resource.Invalid{Field: "options", Reason: "are those of a new credential, and this one is there already: change it first"}
	}
	return c, nil
}
