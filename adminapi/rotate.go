package adminapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/resource"
)

type (
	rotateInput struct {
		RefInput
		IdempotencyKey string `header:"Idempotency-Key" maxLength:"256" doc:"names the rotation: asking again with it answers the same secret"`
		Body           client.Rotate
	}
	raiseInput struct {
		RefInput
		Body client.Raise
	}
	raiseMemberInput struct {
		MemberRef
		Body client.Raise
	}
)

// registerRotate registers what gives a key a new secret.
func (s *Server) registerRotate() {
	register(s, "rotate-key", http.MethodPost, "/keys/{id}/rotate", "Give a key a new secret",
		func(ctx context.Context, in *rotateInput) (*recordOutput[client.Key], error) {
			in.Body.IdempotencyKey = cmp.Or(in.Body.IdempotencyKey, in.IdempotencyKey)
			patch, err := changeOf(in.Body.Change)
			if err != nil {
				return nil, s.problem(err)
			}
			k, w, err := s.rs.Rotate(ctx, callerOf(ctx), in.Ref, in.Body, patch)
			return answer(s, s.keyView, k, w, err)
		})
	register(s, "pick-up-key", http.MethodPost, "/keys/{id}/pickup", "Fetch the secret that a scheduled rotation made, once",
		func(ctx context.Context, in *RefInput) (*recordOutput[client.Key], error) {
			k, w, err := s.pickUp(ctx, callerOf(ctx), in.Ref)
			return answer(s, s.keyView, k, w, err)
		})
}

// changeOf is a merge patch as a document; nil for none.
func changeOf(change map[string]any) (records.Document, error) {
	if len(change) == 0 {
		return nil, nil
	}
	patch := records.Document{}
	for name, v := range change {
		if err := patch.Set(name, v); err != nil {
			return nil, err
		}
	}
	return patch, nil
}

func (s *Server) pickUp(ctx context.Context, by records.Caller, ref string) (*resource.Key, records.Written, error) {
	k, err := s.rs.Keys.One(by, ref)
	if err != nil {
		return nil, records.Written{}, err
	}
	if by.Who.Key == nil || by.Who.Key.ID != k.ID { // its owner has the old secret
		if err := mayLearn(by, k); err != nil {
			return nil, records.Written{}, err
		}
	}
	if s.cfg.PickUp == nil {
		return nil, records.Written{}, fmt.Errorf("new secret of key %q: %w", ref, resource.ErrNotFound)
	}
	secret, w, err := s.cfg.PickUp(ctx, by, k)
	if err != nil {
		return nil, records.Written{}, err
	}
	w.Secret = secret
	if now, ok := s.rs.Keys.Find(k.ID); ok {
		k = now
	}
	return k, w, nil
}

// registerRaise registers what raises a budget for a time.
func (s *Server) registerRaise() {
	register(s, "raise-key", http.MethodPost, "/keys/{id}/raise", "Raise a budget of a key for a time; an amount of 0 ends that",
		func(ctx context.Context, in *raiseInput) (*recordOutput[client.Key], error) {
			k, w, err := s.rs.RaiseKey(ctx, callerOf(ctx), in.Ref, in.Body)
			return answer(s, s.keyView, k, w, err)
		})
	register(s, "raise-member", http.MethodPost, "/teams/{id}/members/{user}/raise", "Raise a budget of a member of a team for a time; an amount of 0 ends that",
		func(ctx context.Context, in *raiseMemberInput) (*recordOutput[client.TeamMember], error) {
			m, w, err := s.rs.RaiseMember(ctx, callerOf(ctx), in.ref(), in.Body)
			return answer(s, s.memberView, m, w, err)
		})
}
