package declare

import (
	"fmt"
	"maps"

	"github.com/conclave-llm/conclave/resource"
)

// signIns puts the stored secrets that sign-ins gave, or renewed, in the place of what a file says of them: a refresh
// token is good once, and a file that is applied again still has the one that was used. key is the secret api_key,
// named are the others; old and oldNamed are stored.
func (p *planner) signIns(
	key Secret, named map[string]Secret, kind, id string, old *resource.Sealed, oldNamed map[string]*resource.Sealed,
) (Secret, map[string]Secret, error) {
	key, err := p.signIn(key, kind, id, "api_key", old)
	if err != nil {
		return key, named, err
	}
	copied := false
	for name, now := range oldNamed {
		next, err := p.signIn(named[name], kind, id, name, now)
		if err != nil {
			return key, named, err
		}
		if next == named[name] {
			continue
		}
		if !copied {
			named, copied = maps.Clone(named), true
			if named == nil {
				named = map[string]Secret{}
			}
		}
		named[name] = next
	}
	return key, named, nil
}

// signIn is the stored secret, if a sign-in gave it and the file does not give another: it leaves the secret out, says
// that it is the stored one, or has the text that was given before the sign-in.
func (p *planner) signIn(given Secret, kind, id, field string, now *resource.Sealed) (Secret, error) {
	if now == nil || !now.SignIn {
		return given, nil
	}
	if given.Text != "" {
		sealed, err := p.cfg.Seal(given.Text, kind, id, field)
		if err != nil {
			return given, fmt.Errorf("seal %s: %w", field, err)
		}
		if sealed.Fingerprint != now.Given {
			return given, nil
		}
	}
	return Secret{Sealed: now.Fingerprint}, nil
}
