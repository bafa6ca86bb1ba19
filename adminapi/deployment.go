package adminapi

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/resource"
)

func (s *Server) deploymentNoun() *noun[resource.Deployment, *resource.Deployment] {
	return &noun[resource.Deployment, *resource.Deployment]{
		s: s, kind: "deployment", prefix: "dep",
		all:    s.deploymentsOf,
		find:   s.findDeployment,
		put:    putDeployment,
		remove: func(id string) fsm.Command { return fsm.DeleteDeployment{ID: id} },
		secrets: map[string]func(*resource.Deployment) **resource.Sealed{
			"api_key": func(d *resource.Deployment) **resource.Sealed { return &d.APIKey },
		},
		check: func(_ context.Context, now, next *resource.Deployment) (err error) {
			if next.ModelID, err = refer("model_id", next.ModelID, s.findModel); err != nil {
				return err
			}
			return s.checkUpstream(now, next)
		},
	}
}

func (s *Server) deploymentsOf(q listQuery) []*resource.Deployment {
	cat := s.cfg.State.Catalog()
	if q.ModelID == "" {
		return cat.Tables().Deployments
	}
	m, ok := s.findModel(q.ModelID)
	if !ok {
		return nil
	}
	return cat.Deployments(m.ID)
}

// findDeployment finds a deployment by id, by MODEL/NAME, or by a name that only one has.
func (s *Server) findDeployment(ref string) (*resource.Deployment, bool) {
	cat := s.cfg.State.Catalog()
	var named []*resource.Deployment
	for _, d := range cat.Tables().Deployments {
		if d.ID == ref {
			return d, true
		}
		if ref != "" && d.Name == ref {
			named = append(named, d)
		}
	}
	if len(named) == 1 {
		return named[0], true
	}
	i := strings.LastIndexByte(ref, '/')
	if i < 0 {
		return nil, false
	}
	m, ok := s.findModel(ref[:i])
	if !ok {
		return nil, false
	}
	for _, d := range cat.Deployments(m.ID) {
		if d.Name == ref[i+1:] {
			return d, true
		}
	}
	return nil, false
}

// checkUpstream resolves the credential, and keeps a stored secret from being sent to a
// host that it was not given for.
func (s *Server) checkUpstream(now, next *resource.Deployment) (err error) {
	if next.CredentialID, err = refer("credential_id", next.CredentialID, s.findCredential); err != nil {
		return err
	}
	if next.Provider == "" && next.CredentialID != "" {
		c, _ := s.findCredential(next.CredentialID)
		next.Provider = c.Provider
	}
	if now != nil && next.APIKey != nil && next.APIKey == now.APIKey && movesHost(now.APIBase, next.APIBase) {
		return errSecretMoves
	}
	return nil
}

// errSecretMoves asks for a secret again whose destination changes.
var errSecretMoves = &resource.Invalid{
	Field: "api_key", Reason: "give the secret again: the stored one was not given for this host",
}

// movesHost says whether two base addresses are at different places.
func movesHost(a, b string) bool {
	if a == b {
		return false
	}
	ua, errA := url.Parse(a)
	ub, errB := url.Parse(b)
	return errA != nil || errB != nil || ua.Scheme != ub.Scheme || !strings.EqualFold(ua.Host, ub.Host)
}

func putDeployment(next *resource.Deployment, read uint64) (fsm.Command, error) {
	e, err := encoded(next)
	return fsm.PutDeployment{Deployment: e, Read: read}, err
}

func deploymentView(_ context.Context, d *resource.Deployment, _ detail) client.Deployment {
	return client.Deployment{Deployment: *d, APIKey: client.Shown(d.APIKey)}
}

// within puts a field's path in front of an *Invalid's.
func within(field string, err error) error {
	if in, ok := errors.AsType[*resource.Invalid](err); ok {
		return invalid(field+"."+in.Field, in.Reason)
	}
	return err
}
