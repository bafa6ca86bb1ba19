package renewal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

const (
	methodKEK   = "renewal/kek"   // asks for the KEK with an id
	methodOffer = "renewal/offer" // hands a KEK over that is to come next
	kekWait     = 3 * time.Second
	offerLife   = time.Minute // an offer whose rotation has not begun by then is forgotten
)

// ErrNoKEK says that no node has the KEK, or answers.
var ErrNoKEK = errors.New("no node that answers has the KEK")

// offer makes the next KEK, hands it to every member that answers, and returns its id. Most
// of them must have it before the rotation begins: else its loss with one disk would be the
// cluster's. Where the operator keeps the KEK it is the one that the nodes are configured with
// as the next.
func (r *Renewal) offer(ctx context.Context, info *fsm.ClusterInfo, dry bool) (string, error) {
	next, err := r.nextKEK(info)
	if err != nil {
		return "", err
	}
	if dry && r.cfg.Files != nil {
		return "", r.hand(ctx, methodHere, nil)
	}
	if err := r.take(ctx, next); err != nil {
		return "", err
	}
	return next.ID(), r.hand(ctx, methodOffer, next.Bytes())
}

// hand hands something to all other members, of which most must take it, this one among them.
func (r *Renewal) hand(ctx context.Context, method string, body []byte) error {
	var (
		mu      sync.Mutex
		wg      sync.WaitGroup
		have    = 1
		members = 0
		refused error
	)
	for _, m := range r.cfg.State.Catalog().Tables().Members {
		if m.Removed {
			continue
		}
		members++
		if m.ID == r.cfg.NodeID {
			continue
		}
		wg.Go(func() {
			wait, cancel := context.WithTimeout(ctx, kekWait)
			defer cancel()
			_, err := r.cfg.Cluster.Call(wait, m.ID, method, body)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				have++
			case errors.Is(err, resource.ErrRefused):
				refused = errors.Join(refused, fmt.Errorf("node %s: %w", m.Name, err))
			}
		})
	}
	wg.Wait()
	if refused != nil {
		return refused
	}
	if 2*have <= members {
		return fmt.Errorf("%d of %d members can be given the new KEK, which are too few: %w", have, members, resource.ErrQuorum)
	}
	return nil
}

// nextKEK is a new one, or the configured one.
func (r *Renewal) nextKEK(info *fsm.ClusterInfo) (*secret.KEK, error) {
	if r.cfg.Files != nil {
		return secret.NewKEK()
	}
	if next, ok := r.cfg.Ring.Other(info.KEKID); ok {
		return next, nil
	}
	return nil, errFixed
}

// errFixed says what an operator who keeps the KEK has to do.
var errFixed = fmt.Errorf("this node's KEK is configured: set kek_next to another one on every node, restart them one after the other, and ask again: %w", resource.ErrRefused)

// take keeps a KEK that is to come next.
func (r *Renewal) take(ctx context.Context, k *secret.KEK) error {
	if _, ok := r.cfg.Ring.Find(k.ID()); ok {
		return nil
	}
	if r.cfg.Files == nil {
		return errFixed
	}
	if err := r.cfg.Files.Add(ctx, k); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offered[k.ID()] = r.cfg.Now()
	r.cfg.Ring.Add(k)
	return nil
}

// onOffer answers offer.
func (r *Renewal) onOffer(ctx context.Context, _ string, body []byte) ([]byte, error) {
	k, err := secret.ParseKEK(body)
	if err != nil {
		return nil, err
	}
	return nil, r.take(ctx, k)
}

// onKEK answers Fetch. Who asks is a member, which the join has handed the KEK to before.
func (r *Renewal) onKEK(_ context.Context, _ string, id []byte) ([]byte, error) {
	k, ok := r.cfg.Ring.Find(string(id))
	if !ok {
		return nil, resource.ErrNotFound
	}
	return k.Bytes(), nil
}

// Fetch gets the KEK with the id from another member and keeps it, if this node lacks it.
func (r *Renewal) Fetch(ctx context.Context, id string) error {
	if _, ok := r.cfg.Ring.Find(id); ok {
		return nil
	}
	if r.cfg.Files == nil {
		return fmt.Errorf("the cluster has the KEK %s, which is not configured here: %w", id, errFixed)
	}
	for _, m := range r.cfg.State.Catalog().Tables().Members {
		if m.Removed || m.ID == r.cfg.NodeID {
			continue
		}
		wait, cancel := context.WithTimeout(ctx, kekWait)
		b, err := r.cfg.Cluster.Call(wait, m.ID, methodKEK, []byte(id))
		cancel()
		if err != nil {
			continue
		}
		k, err := secret.ParseKEK(b)
		if err != nil || k.ID() != id {
			return fmt.Errorf("node %s answered with another KEK: %w", m.Name, errors.Join(err, secret.ErrWrongKey))
		}
		r.log.Info("got the KEK from another node", "kek", id, "from", m.ID)
		return r.take(ctx, k)
	}
	return fmt.Errorf("%w: %s", ErrNoKEK, id)
}

// followKEK has the KEKs that the state says, and seals under the right one.
func (r *Renewal) followKEK(ctx context.Context, info *fsm.ClusterInfo) error {
	if rot := info.Rotation(memory.RotateKEK); rot != nil && rot.Step == memory.StepInstall {
		if err := r.Fetch(ctx, rot.ID); err != nil {
			return err
		}
	}
	if err := r.Fetch(ctx, info.KEKID); err != nil {
		return err
	}
	r.cfg.Ring.Use(info.KEKID)
	return nil
}

// forgetKEKs drops what is not used any more; a KEK that an operator keeps stays.
func (r *Renewal) forgetKEKs(ctx context.Context, info *fsm.ClusterInfo) error {
	if r.cfg.Files == nil || r.cfg.Ring.Len() < 2 {
		return nil
	}
	if rot := info.Rotation(memory.RotateKEK); rot != nil && rot.Busy() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, at := range r.offered {
		if id != info.KEKID && r.cfg.Now().Before(at.Add(offerLife)) {
			return nil
		}
	}
	k, ok := r.cfg.Ring.Find(info.KEKID)
	if !ok {
		return nil
	}
	if err := r.cfg.Files.Promote(ctx, k); err != nil {
		return err
	}
	r.cfg.Ring.Keep()
	clear(r.offered)
	r.log.Info("forgot the old KEK", "kek", k.ID())
	return nil
}
