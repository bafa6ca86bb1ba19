package node

import (
	"context"
	"crypto/x509"
	"fmt"
	"strconv"
	"time"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/audit"
	"github.com/conclave-llm/conclave/node/auditlog"
	"github.com/conclave-llm/conclave/node/consensus/recovery"
	"github.com/conclave-llm/conclave/resource"
)

// purposeCA is what the KEK wraps the key of the cluster's CA for.
const purposeCA = "ca"

// startAudit begins to tell events and, while this node leads, to keep the audit log.
func (n *Node) startAudit(context.Context) error {
	n.events = auditlog.NewEvents(auditlog.EventsConfig{
		Propose: func(ctx context.Context, events []resource.AuditEvent) error {
			return n.proposeOwn(ctx, fsm.NoteEvents{Events: events})
		},
		Logger: n.log, Registerer: n.registry,
	})
	n.keeper = auditlog.NewKeeper(auditlog.Config{
		State: n.state, Leads: n.consensus.IsLeader, Propose: n.proposeOwn, Sign: n.signAnchor,
		Callback: n.plugins.DeliverAudit, Dir: n.workDir(), Dial: n.egress.DialContext, Now: n.cfg.AuditNow, Logger: n.log, Registerer: n.registry,
	})
	n.wg.Go(func() { n.events.Run(n.ctx) })
	n.wg.Go(func() { n.keeper.Run(n.ctx) })
	n.wg.Go(n.tellRecovery)
	return nil
}

// tellRecovery takes into the audit log that this node was made a cluster of its own while it was
// stopped.
func (n *Node) tellRecovery() {
	r, ok := recovery.Noted(n.cfg.DataDir)
	if !ok {
		return
	}
	e := resource.AuditEvent{Action: "recover", Kind: "cluster", ID: strconv.FormatUint(r.Index, 10), Actor: "node/" + n.identity.NodeID}
	for n.ctx.Err() == nil {
		if err := n.events.Record(n.ctx, e); err == nil {
			if err := recovery.Forget(n.cfg.DataDir); err != nil {
				n.log.Warn("a recovery that was told may be told again", "error", err)
			}
			return
		}
		select {
		case <-n.ctx.Done():
		case <-time.After(epochRetry):
		}
	}
}

// proposeOwn commits a command of the node itself.
func (n *Node) proposeOwn(ctx context.Context, cmd fsm.Command) error {
	_, err := n.consensus.Propose(ctx, fsm.Actor{Kind: "node", ID: n.identity.NodeID}, "", cmd)
	return err
}

// signAnchor signs an anchor of the audit log with the key of the cluster's CA.
func (n *Node) signAnchor(a *resource.AuditAnchor) error {
	info, _ := n.state.Cluster()
	der, err := n.identity.kek.Unwrap(info.CAKey, purposeCA)
	if err != nil {
		return fmt.Errorf("open CA key: %w", err)
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return fmt.Errorf("read CA key: %w", err)
	}
	return audit.Sign(a, key)
}
