package fsm

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/fsm/codec"
	"github.com/conclave-llm/conclave/fsm/overlay"
	"github.com/conclave-llm/conclave/fsm/relation"
	"github.com/conclave-llm/conclave/fsm/store"
	"github.com/conclave-llm/conclave/resource"
)

// Apply implements Command.
func (c PutKey) Apply(tx *Tx) error {
	old, err := putRecord[resource.Key](tx, store.Keys, c.Key, c.Read)
	if err != nil {
		return err
	}
	k := c.Key.Value()
	if err := tx.moveHashes(k.ID, hashesOf(old), hashesOf(&k)); err != nil {
		return err
	}
	return tx.settleHolder(&k, recordOf(old), c.Windows)
}

// recordOf makes a record of what a command replaced: nil of none.
func recordOf[T any, P codec.Canonicalizer[T]](old P) resource.Record {
	if old == nil {
		return nil
	}
	return old
}

func hashesOf(k *resource.Key) []resource.Hash {
	if k == nil {
		return nil
	}
	all := []resource.Hash{k.Hash}
	for _, o := range k.OldHashes {
		if !slices.Contains(all, o.Hash) {
			all = append(all, o.Hash)
		}
	}
	return all
}

// moveHashes keeps the index of secrets: no two keys share one, nor with the master key.
func (tx *Tx) moveHashes(id string, from, to []resource.Hash) error {
	for _, h := range to {
		if slices.Contains(from, h) {
			continue
		}
		f, ok := tx.get(store.KeyHashes, h[:])
		if (ok && string(f.Payload) != id) || tx.isMaster(h) {
			return fmt.Errorf("secret of the key: %w", resource.ErrExists)
		}
		if ok {
			tx.put(store.KeyHashes, h[:], []byte(id))
		} else {
			tx.create(store.KeyHashes, h[:], []byte(id))
		}
	}
	for _, h := range from {
		if !slices.Contains(to, h) {
			tx.delete(store.KeyHashes, h[:])
		}
	}
	return nil
}

func (tx *Tx) isMaster(h resource.Hash) bool {
	if tx.master == nil {
		info, ok := tx.cluster()
		if !ok {
			return false
		}
		tx.master = &info.MasterHash
	}
	return *tx.master == h
}

// Apply implements Command.
func (c BlockKey) Apply(tx *Tx) error { return setBlocked(tx, store.Keys, c.ID, c.Blocked) }

// Apply implements Command.
func (c DeleteKey) Apply(tx *Tx) error {
	old, err := deleteRecord[resource.Key](tx, store.Keys, c.ID)
	if err != nil {
		return err
	}
	tx.dropAccounts(resource.HolderKey, c.ID)
	tx.dropCallbacks(old.Callbacks)
	return tx.moveHashes(c.ID, hashesOf(old), nil)
}

// dropCallbacks deletes those of the callbacks that were made for a key and that no key chooses any more.
func (tx *Tx) dropCallbacks(names []string) {
	for _, name := range resource.KeyCallbacks(names) {
		if tx.referrer(store.Callbacks, name) != "" {
			continue
		}
		if id, ok := tx.named(store.Callbacks, name); ok {
			_ = DeleteCallback{ID: id}.Apply(tx) // one that a file owns stays
		}
	}
}

// Apply implements Command.
func (c PutTeam) Apply(tx *Tx) error {
	old, err := putRecord[resource.Team](tx, store.Teams, c.Team, c.Read)
	if err != nil {
		return err
	}
	return tx.settleHolder(c.Team.Record(), recordOf(old), c.Windows)
}

// Apply implements Command.
func (c BlockTeam) Apply(tx *Tx) error { return setBlocked(tx, store.Teams, c.ID, c.Blocked) }

// Apply implements Command.
func (c DeleteTeam) Apply(tx *Tx) error {
	return DeleteHolder[resource.Team, *resource.Team](c).Apply(tx)
}

// Apply implements Command.
func (c PutModel) Apply(tx *Tx) error {
	old, err := putRecord[resource.Model](tx, store.Models, c.Model, c.Read)
	if err != nil {
		return err
	}
	return tx.settleHolder(c.Model.Record(), recordOf(old), c.Windows)
}

// Apply implements Command. The audit log tells of the model alone.
func (c DeleteModel) Apply(tx *Tx) error {
	told := len(tx.audits)
	for _, id := range tx.referrers(store.Models, c.ID, store.Deployments) {
		if err := (DeleteDeployment{ID: id}).Apply(tx); err != nil {
			return err
		}
	}
	tx.audits = tx.audits[:told]
	return DeleteHolder[resource.Model, *resource.Model](c).Apply(tx)
}

// Apply implements Command.
func (c PutDeployment) Apply(tx *Tx) error {
	old, err := putRecord[resource.Deployment](tx, store.Deployments, c.Deployment, c.Read)
	if err != nil {
		return err
	}
	return tx.settleHolder(c.Deployment.Record(), recordOf(old), c.Windows)
}

// Apply implements Command.
func (c DeleteDeployment) Apply(tx *Tx) error {
	return DeleteHolder[resource.Deployment, *resource.Deployment](c).Apply(tx)
}

// Apply implements Command.
func (c PutCredential) Apply(tx *Tx) error {
	_, err := putRecord[resource.Credential](tx, store.Credentials, c.Credential, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteCredential) Apply(tx *Tx) error {
	if err := tx.inUse(store.Credentials, c.ID); err != nil {
		return err
	}
	_, err := deleteRecord[resource.Credential](tx, store.Credentials, c.ID)
	return err
}

// Apply implements Command. It adjusts the open windows of every holder of the budget.
func (c PutBudget) Apply(tx *Tx) error {
	old, err := putRecord[resource.Budget](tx, store.Budgets, c.Budget, c.Read)
	if err != nil {
		return err
	}
	b := c.Budget.Value()
	if old != nil && old.Name != b.Name {
		if by := tx.givenByName(old.Name); by != "" {
			return fmt.Errorf("budget %q is named %q by %s as %s, which may have the id, and then the budget another name: %w",
				b.ID, old.Name, by, resource.SettingCustomerBudget, resource.ErrInUse)
		}
	}
	for _, k := range tx.scan(store.Refs, relation.Prefix(store.Budgets, b.ID)) {
		kind, id, _ := strings.Cut(string(bytes.TrimPrefix(k, relation.Prefix(store.Budgets, b.ID))), "/")
		kind = holderKind(kind)
		a, _ := tx.allowance(kind, id)
		if _, err := tx.holderTerms(a.Budgets, b.ID); err != nil {
			return fmt.Errorf("%s %q: %w", kind, id, err)
		}
		tx.adjustLimits(kind, id, b.All())
	}
	return nil
}

// Apply implements Command.
func (c DeleteBudget) Apply(tx *Tx) error {
	if by := tx.ofCustomers(c.ID); by != "" {
		return fmt.Errorf("budget %q is named by %s as %s: %w", c.ID, by, resource.SettingCustomerBudget, resource.ErrInUse)
	}
	if err := tx.inUse(store.Budgets, c.ID); err != nil {
		return err
	}
	_, err := deleteRecord[resource.Budget](tx, store.Budgets, c.ID)
	return err
}

// Apply implements Command.
func (c PutGuardrail) Apply(tx *Tx) error {
	_, err := putRecord[resource.Guardrail](tx, store.Guardrails, c.Guardrail, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteGuardrail) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.Guardrail](tx, store.Guardrails, c.ID)
	return err
}

// Apply implements Command.
func (c PutCallback) Apply(tx *Tx) error {
	_, err := putRecord[resource.Callback](tx, store.Callbacks, c.Callback, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteCallback) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.Callback](tx, store.Callbacks, c.ID)
	return err
}

// Apply implements Command.
func (c PutSecretSource) Apply(tx *Tx) error {
	_, err := putRecord[resource.SecretSource](tx, store.SecretSources, c.Source, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteSecretSource) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.SecretSource](tx, store.SecretSources, c.ID)
	return err
}

// Apply implements Command.
func (c PutAuth) Apply(tx *Tx) error {
	_, err := putRecord[resource.Auth](tx, store.Auths, c.Record, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteAuth) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.Auth](tx, store.Auths, c.ID)
	return err
}

// Apply implements Command.
func (c PutRouterFilter) Apply(tx *Tx) error {
	_, err := putRecord[resource.RouterFilter](tx, store.RouterFilters, c.Record, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteRouterFilter) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.RouterFilter](tx, store.RouterFilters, c.ID)
	return err
}

// Apply implements Command.
func (c PutAccessGroup) Apply(tx *Tx) error {
	old, err := putRecord[resource.AccessGroup](tx, store.AccessGroups, c.Record, c.Read)
	if err != nil {
		return err
	}
	return tx.settleHolder(c.Record.Record(), recordOf(old), c.Windows)
}

// Apply implements Command.
func (c DeleteAccessGroup) Apply(tx *Tx) error {
	return DeleteHolder[resource.AccessGroup, *resource.AccessGroup](c).Apply(tx)
}

// Apply implements Command.
func (c PutMCPServer) Apply(tx *Tx) error {
	_, err := putRecord[resource.MCPServer](tx, store.MCPServers, c.Server, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteMCPServer) Apply(tx *Tx) error {
	if _, err := deleteRecord[resource.MCPServer](tx, store.MCPServers, c.ID); err != nil {
		return err
	}
	tx.dropMCPTokens(c.ID, "")
	return nil
}

// Apply implements Command.
func (c PutPassThrough) Apply(tx *Tx) error {
	_, err := putRecord[resource.PassThroughEndpoint](tx, store.PassThrough, c.Endpoint, c.Read)
	return err
}

// Apply implements Command.
func (c PutPrompt) Apply(tx *Tx) error {
	_, err := putRecord[resource.Prompt](tx, store.Prompts, c.Prompt, c.Read)
	return err
}

// Apply implements Command.
func (c DeletePassThrough) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.PassThroughEndpoint](tx, store.PassThrough, c.ID)
	return err
}

// Apply implements Command.
func (c DeletePrompt) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.Prompt](tx, store.Prompts, c.ID)
	return err
}

// Apply implements Command.
func (c PutPlugin) Apply(tx *Tx) error {
	old, err := putRecord[resource.Plugin](tx, store.Plugins, c.Plugin, c.Read)
	if err != nil {
		return err
	}
	if old != nil && old.Name != c.Plugin.Value().Name {
		if err := tx.inUse(store.Plugins, old.Name); err != nil {
			return err
		}
	}
	return tx.moveBinaries(old, c.Plugin.Record())
}

// Apply implements Command.
func (c DeletePlugin) Apply(tx *Tx) error {
	old, err := deleteRecord[resource.Plugin](tx, store.Plugins, c.ID)
	if err != nil {
		return err
	}
	if err := tx.inUse(store.Plugins, old.Name); err != nil {
		return err
	}
	return tx.moveBinaries(old, nil)
}

// Apply implements Command.
func (c PutSetting) Apply(tx *Tx) error {
	_, err := putRecord[resource.Setting](tx, store.Settings, c.Setting, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteSetting) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.Setting](tx, store.Settings, c.ID)
	return err
}

// Apply implements Command. Later items see what earlier ones changed; one refusal refuses
// all. Which admin may propose a batch may propose each of its items (the tests hold the table to
// that), so an item may change the very key that it is proposed with; what anybody else may
// do is asked for each item.
func (c Batch) Apply(tx *Tx) error {
	if len(c.Items) == 0 {
		return &resource.Invalid{Field: "items", Reason: "a batch has at least one"}
	}
	if len(c.decoded) != len(c.Items) {
		overlay.Fail(fmt.Errorf("%w: a batch that was not decoded", ErrEntry))
	}
	for i, cmd := range c.decoded {
		kind := c.Items[i].Kind
		tx.kind = kind
		if err := tx.checkDelegate(cmd); err != nil {
			return fmt.Errorf("item %d: %s: %w", i, kind, err)
		}
		if err := cmd.Apply(tx); err != nil {
			return fmt.Errorf("item %d: %s: %w", i, kind, err)
		}
	}
	return nil
}

// Apply implements Command.
func (c PutVariable) Apply(tx *Tx) error {
	_, err := putRecord[resource.Variable](tx, store.Variables, c.Variable, c.Read)
	return err
}

// Apply implements Command.
func (c DeleteVariable) Apply(tx *Tx) error {
	_, err := deleteRecord[resource.Variable](tx, store.Variables, c.ID)
	return err
}
