package resource

// EachSealed visits the sealed secrets of the credential under the names of their fields, and
// keeps in the place of each what visit returns.
func (c *Credential) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitSealed(&c.APIKey, "api_key", visit)
	visitNamed(c.Secrets, visit)
}

// EachSealed visits the sealed secrets of the deployment, as Credential's does.
func (d *Deployment) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitSealed(&d.APIKey, "api_key", visit)
	visitNamed(d.Secrets, visit)
}

// EachSealed visits the sealed secrets of the MCP server, as Credential's does.
func (s *MCPServer) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitNamed(s.Secrets, visit)
}

// EachSealed visits the sealed secrets of the pass-through endpoint, as Credential's does.
func (e *PassThroughEndpoint) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitNamed(e.Secrets, visit)
}

// EachSealed visits the sealed secrets of the guardrail, as Credential's does.
func (g *Guardrail) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitNamed(g.Secrets, visit)
}

// EachSealed visits the sealed secrets of the callback, as Credential's does.
func (c *Callback) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitNamed(c.Secrets, visit)
}

// EachSealed visits the sealed secrets of the secret source, as Credential's does.
func (s *SecretSource) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitNamed(s.Secrets, visit)
}

// EachSealed visits the sealed secrets of the key, as Credential's does.
func (k *Key) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitSealed(&k.RotationKey, "rotation_key", visit)
	if k.Next != nil {
		visitSealed(&k.Next.Sealed, "next", visit)
	}
}

// EachSealed visits the tokens, as Credential's does.
func (t *MCPToken) EachSealed(visit func(field string, s *Sealed) *Sealed) {
	visitSealed(&t.Secret, "token", visit)
}

func visitSealed(at **Sealed, field string, visit func(field string, s *Sealed) *Sealed) {
	if *at == nil {
		return
	}
	if next := visit(field, *at); next != *at { // nothing is written to records that are only looked at
		*at = next
	}
}

func visitNamed(all map[string]*Sealed, visit func(field string, s *Sealed) *Sealed) {
	for _, name := range sortedKeys(all) {
		s := all[name]
		if s == nil {
			continue
		}
		if next := visit(name, s); next != s {
			all[name] = next
		}
	}
}
