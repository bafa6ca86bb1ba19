package records

import (
	"context"
	"fmt"
	"maps"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

// SignedIn puts what a sign-in at a provider gave into a secret of a credential: c is the credential as it was when the
// sign-in began, without an id if it is to be made. One that the configuration file owns stays the file's.
func (rs *Records) SignedIn(ctx context.Context, by Caller, c *resource.Credential, field, text string) (Written, error) {
	next, err := rs.signedIn(by, c)
	if err != nil {
		return Written{}, err
	}
	sealed, err := rs.cfg.Seal(text, "credential", next.ID, field)
	if err != nil {
		return Written{}, fmt.Errorf("seal %s of credential %s: %w", field, next.ID, err)
	}
	if field == "api_key" {
		sealed.Follow(next.APIKey)
		next.APIKey = sealed
	} else {
		sealed.Follow(next.Secrets[field])
		named := map[string]*resource.Sealed{}
		maps.Copy(named, next.Secrets)
		named[field] = sealed
		next.Secrets = named
	}
	if err := next.Validate(); err != nil {
		return Written{}, err
	}
	put, err := PutCredential(next, next.Version)
	if err != nil {
		return Written{}, err
	}
	cmds := []fsm.Command{put}
	if next.Owner == resource.OwnerFile {
		cmds = []fsm.Command{fsm.ActAsFile{}, put}
	}
	return rs.confirmed(ctx, by, cmds...)
}

// signedIn is the credential as it will be, but for the secret.
func (rs *Records) signedIn(by Caller, c *resource.Credential) (*resource.Credential, error) {
	at, actor := resource.At(rs.cfg.Now()), by.Who.Actor()
	if c.ID == "" {
		next := *c
		next.Meta = resource.Meta{ID: resource.NewID("cred"), CreatedAt: at, CreatedBy: actor, UpdatedAt: at, UpdatedBy: actor}
		return &next, nil
	}
	now, ok := rs.findCredential(c.ID)
	if !ok {
		return nil, fmt.Errorf("credential %q was deleted while somebody signed in for it: %w", c.Name, resource.ErrNotFound)
	}
	if now.Provider != c.Provider || CheckMove(AddressOfCredential(c), AddressOfCredential(now)) != nil {
		return nil, fmt.Errorf("credential %q was given another address while somebody signed in for it: sign in again: %w", c.Name, resource.ErrRefused)
	}
	next := *now
	next.UpdatedAt, next.UpdatedBy = at, actor
	return &next, nil
}
