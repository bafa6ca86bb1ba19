package fsm_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/fsm"
	"github.com/conclave-llm/conclave/fsm/memory"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/resource/alert"
	"github.com/conclave-llm/conclave/resource/channel"
)

// golden writes the golden bytes of kinds that have none. It never rewrites any.
var golden = flag.Bool("golden", false, "write the golden bytes of new kinds")

// samples has one command of each kind with all its fields set.
func samples(t testing.TB) []fsm.Command {
	h1, h2 := resource.HashSecret("sk-one"), resource.HashSecret("sk-two")
	m := func(id string) resource.Meta {
		return resource.Meta{ID: id, Owner: resource.OwnerFile, CreatedAt: 1, CreatedBy: "master", UpdatedAt: 2, UpdatedBy: "key/k9"}
	}
	terms := []resource.Terms{{Name: "d", USD: 5 * resource.Dollar, Per: resource.PerDay, Zone: "Europe/Paris", Strict: true, Clamp: true, Overdraft: 7, NoQuorum: resource.NoQuorumShare, Unpriced: resource.UnpricedDeny}}
	limits := resource.Limits{RPM: new(int64(1)), TPM: new(int64(2)), Parallel: new(int64(0))}
	sealed := &resource.Sealed{DEK: "d", Box: []byte{1, 2}, Fingerprint: "aabbccdd"}
	open := fsm.OpenWindow{Account: "key/k1/d", Window: resource.Window{Start: 10, End: 20}, Limit: 5, Overdraft: 1}
	item, err := fsm.ItemOf(fsm.DeleteTeam{ID: "t1"})
	if err != nil {
		t.Fatal(err)
	}
	return []fsm.Command{
		fsm.Bootstrap{ClusterID: "c1", MasterHash: h1, CACert: []byte{1}, CAKey: []byte{2}, GossipKey: []byte{3}, DEKID: "d", DEK: []byte{4}, KEKID: "k"},
		fsm.PutJoinToken{Hash: h1, Expires: 99},
		fsm.RegisterMember{Member: resource.Member{Meta: m("n1"), Name: "a", Address: "x:1", ClientURL: "http://x", Version: "v1", FSMVersion: 1}, Token: h2},
		fsm.RemoveMember{ID: "n1"},
		fsm.OpenEpoch{Node: "n1"},
		fsm.CloseEpoch{Node: "n1", Epoch: 3, Whole: true},
		fsm.TickGroup{Ticks: []fsm.Tick{{
			Node: "n1", Epoch: 1, Seq: 2, From: 3, To: 4, Applied: 5, Hash: make([]byte, 16), Clock: 6, OldEpoch: 1,
			Spend:   []fsm.SpendDelta{{KeyID: "k1", TeamID: "t1", Model: "demo", Day: 20000, Cost: 1, Requests: 2, Failures: 3, Prompt: 4, Completion: 5}},
			Settle:  []fsm.AccountDelta{{Account: "key/k1/d", Start: 10, Amount: 1}},
			Want:    []fsm.Want{{OpenWindow: open, Amount: 2, Need: 1}},
			Release: []fsm.AccountDelta{{Account: "key/k1/d", Start: 10, Amount: 3}},
		}}},
		fsm.Batch{Items: []fsm.Item{item}},
		fsm.PutKey{Read: 7, Windows: []fsm.OpenWindow{open}, Key: encoded(t, resource.Key{
			Meta: m("k1"), Name: "one", Hash: h1, OldHashes: []resource.OldHash{{Hash: h2, Until: 3}}, Hint: "sk-...abcd", TeamID: "t1",
			UserID: "u1", Role: resource.RoleAdmin, Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1", Budgets: terms, Limits: limits}, Models: []string{"demo"}, Routes: []string{"/v1/*"}, Tags: []string{"x"}, Metadata: json.RawMessage(`{"a":1}`), ExpiresAt: 9},
		})},
		fsm.BlockKey{ID: "k1", Blocked: true},
		fsm.DeleteKey{ID: "k1"},
		fsm.PutTeam{Read: 7, Windows: []fsm.OpenWindow{open}, Team: encoded(t, resource.Team{
			Meta: m("t1"), Name: "research", Policy: resource.Policy{Allowance: resource.Allowance{BudgetID: "b1", Budgets: terms, Limits: limits}, Models: []string{"demo"}, Tags: []string{"x"}, Metadata: json.RawMessage(`{}`)},
		})},
		fsm.BlockTeam{ID: "t1", Blocked: true},
		fsm.DeleteTeam{ID: "t1"},
		fsm.PutModel{Read: 7, Model: encoded(t, resource.Model{
			Meta: m("m1"), Name: "demo", Strategy: resource.StrategyLatency, Fallbacks: []string{"x"}, Retries: new(0), TimeoutMS: 5, Metadata: json.RawMessage(`{}`),
		})},
		fsm.DeleteModel{ID: "m1"},
		fsm.PutDeployment{Read: 7, Deployment: encoded(t, resource.Deployment{
			Meta: m("d1"), Name: "d", ModelID: "m1", Provider: "openai", APIBase: "http://x", Upstream: "up", CredentialID: "c1", APIKey: sealed,
			Weight: new(int64(0)), Order: 1, Allowance: resource.Allowance{Limits: limits}, TimeoutMS: 5, Blocked: true, Metadata: json.RawMessage(`{}`),
			Price: &resource.Price{Input: 1, Output: 2, Classes: resource.Classes{CacheRead: new(resource.Money(3)), CacheWrite: new(resource.Money(4)), Reasoning: new(resource.Money(5))}, Request: 6},
		})},
		fsm.DeleteDeployment{ID: "d1"},
		fsm.PutCredential{Read: 7, Credential: encoded(t, resource.Credential{Meta: m("c1"), Name: "openai", Provider: "openai", APIKey: sealed, APIBase: "http://x"})},
		fsm.DeleteCredential{ID: "c1"},
		fsm.PutBudget{Read: 7, Budget: encoded(t, resource.Budget{Meta: m("b1"), Name: "shared", Terms: terms[0]})},
		fsm.DeleteBudget{ID: "b1"},
		fsm.PutGuardrail{Read: 7, Guardrail: encoded(t, resource.Guardrail{
			Meta: m("g1"), Name: "words", Plugin: "keywords", Hooks: []resource.Hook{resource.HookBefore}, OnError: resource.OnErrorPass, DeadlineMS: 5,
			Models: []string{"demo"}, Optional: true, Config: json.RawMessage(`{}`),
		})},
		fsm.DeleteGuardrail{ID: "g1"},
		fsm.PutCallback{Read: 7, Callback: encoded(t, resource.Callback{Meta: m("c1"), Name: "log", Plugin: "file", Config: json.RawMessage(`{}`)})},
		fsm.DeleteCallback{ID: "c1"},
		fsm.PutSecretSource{Read: 7, Source: encoded(t, resource.SecretSource{
			Meta: m("src1"), Name: "vault", Plugin: "vault", Config: json.RawMessage(`{}`), Secrets: map[string]*resource.Sealed{"token": sealed},
			RefreshSeconds: 60, MaxStaleSeconds: 3600, MemoryMB: 64,
		})},
		fsm.DeleteSecretSource{ID: "src1"},
		fsm.PutAuth{Read: 7, Record: encoded(t, resource.Auth{
			Meta: m("auth1"), Name: "idp", Mode: resource.AuthAuto, OnError: resource.OnErrorPass, Routes: []string{"/v1/*"}, Headers: []string{"X-User"}, CacheSeconds: 30,
			PluginUse: resource.PluginUse{
				Plugin: "mine", Config: json.RawMessage(`{}`), Secrets: map[string]*resource.Sealed{"token": sealed}, DeadlineMS: 500, Instances: 2, MemoryMB: 64,
			},
		})},
		fsm.DeleteAuth{ID: "auth1"},
		fsm.PutRouterFilter{Read: 7, Record: encoded(t, resource.RouterFilter{
			Meta: m("rf1"), Name: "near", OnError: resource.OnErrorPass, Models: []string{"gpt-*"},
			PluginUse: resource.PluginUse{Plugin: "mine", Config: json.RawMessage(`{}`), DeadlineMS: 50, Instances: 2, MemoryMB: 64},
		})},
		fsm.DeleteRouterFilter{ID: "rf1"},
		fsm.PutAccessGroup{Read: 7, Record: encoded(t, resource.AccessGroup{
			Meta: m("ag1"), Name: "engineering", Description: "d", Models: []string{"gpt-*", "premium"}, MCPServers: []string{"git"},
			MCPTools: map[string][]string{"mail": {"send"}},
		})},
		fsm.DeleteAccessGroup{ID: "ag1"},
		fsm.PutPrompt{Read: 7, Prompt: encoded(t, resource.Prompt{
			Meta: meta("prompt_1"), Name: "support", Description: "d", Last: 2, Environments: map[string]int64{"production": 1},
			Versions: []resource.PromptVersion{
				{
					Version: 1, Model: "m", Messages: []resource.PromptMessage{{Role: "system", Content: "Be {{tone}}."}},
					Parameters: json.RawMessage(`{"temperature":0.5}`), Defaults: json.RawMessage(`{"tone":"kind"}`), Note: "n",
				},
				{Version: 2, Messages: []resource.PromptMessage{{Role: "user", Content: "x"}}},
			},
			Metadata: json.RawMessage(`{"a":1}`),
		})},
		fsm.DeletePrompt{ID: "prompt_1"},
		fsm.PutMCPServer{Read: 7, Server: encoded(t, resource.MCPServer{
			Meta: m("mcp1"), Name: "git", Alias: "g", Description: "d", AllowedTools: []string{"a"}, DisallowedTools: []string{"b"}, CostPerCall: 1, ToolCosts: map[string]resource.Money{"a": 2},
			Guardrails: []string{"words"}, AccessGroups: []string{"code"}, AllowAllKeys: true, Disabled: true, TimeoutMS: 5, Parallel: 6, Metadata: json.RawMessage(`{}`),
			MCPUpstream: resource.MCPUpstream{
				Transport: "http", URL: "http://x", Command: "c", Args: []string{"x"}, Env: map[string]string{"A": "b"}, Headers: map[string]string{"X-A": "b"}, ForwardHeaders: []string{"X-B"},
				Auth: "api_key", AuthHeader: "X-K", CredentialID: "c1", Secrets: map[string]*resource.Sealed{"auth": sealed},
			},
		})},
		fsm.DeleteMCPServer{ID: "mcp1"},
		fsm.PutPassThrough{Read: 7, Endpoint: encoded(t, resource.PassThroughEndpoint{
			Meta: m("pt1"), Name: "search", Description: "d", Path: "/tools/search", Target: "https://x.example/s", IncludeSubpath: true, Methods: []string{"GET"},
			Headers: map[string]string{"X-A": "b"}, Secrets: map[string]*resource.Sealed{"header.Authorization": sealed}, ForwardHeaders: true, Query: map[string]string{"a": "b"},
			NoAuth: true, CostPerRequest: 1, Guardrails: []string{"words"}, TimeoutMS: 5, Disabled: true,
		})},
		fsm.DeletePassThrough{ID: "pt1"},
		fsm.PutPlugin{Read: 7, Plugin: encoded(t, resource.Plugin{Meta: m("p1"), Name: "p", Kind: "guardrail", Path: "/p", SHA256: strings.Repeat("ab", 32), MTLS: new(false)})},
		fsm.DeletePlugin{ID: "p1"},
		fsm.PutSetting{Read: 7, Setting: encoded(t, resource.Setting{Meta: m("serve_stale"), Value: json.RawMessage(`"1h"`)})},
		fsm.DeleteSetting{ID: "serve_stale"},
		fsm.PutPrices{Read: 7, Prices: encoded(t, resource.PriceTable{
			Meta: resource.Meta{ID: resource.PriceTableID, UpdatedAt: 2, UpdatedBy: "node/n1"}, Source: "https://x/prices.json", ETag: "e",
			SHA256: strings.Repeat("ab", 32), At: 3, Count: 1, Rows: []byte{1, 2}, Proposed: []byte{3}, ProposedCount: 1,
		})},
		fsm.NoteEvents{Events: []resource.AuditEvent{{
			At: 1, Actor: "master", For: "jo", Address: "10.0.0.1", Action: "sign_in", Kind: "admin", ID: "x", Outcome: resource.AuditFailed, Count: 3, RequestID: "r1",
		}}},
		fsm.PruneAudit{Anchor: resource.AuditAnchor{Cluster: "c1", Number: 2, Index: 3, At: 4, Hash: h1, SignedAt: 5, Signature: []byte{1, 2}}},
		fsm.MarkAudit{Sink: "siem", Number: 7},
		fsm.PutOrganization{Read: 7, Windows: []fsm.OpenWindow{open}, Record: encoded(t, resource.Organization{Meta: m("o1"), Name: "acme", Policy: wholePolicy()})},
		fsm.BlockOrganization{ID: "o1", Blocked: true},
		fsm.DeleteOrganization{ID: "o1"},
		fsm.PutProject{Read: 7, Windows: []fsm.OpenWindow{open}, Record: encoded(t, resource.Project{Meta: m("p1"), Name: "search", Description: "d", TeamID: "t1", Policy: wholePolicy()})},
		fsm.BlockProject{ID: "p1", Blocked: true},
		fsm.DeleteProject{ID: "p1"},
		fsm.PutUser{Read: 7, Windows: []fsm.OpenWindow{open}, Record: encoded(t, resource.User{
			Meta: m("u1"), Name: "Ada", Email: "ada@example.org", Role: resource.UserInternal, OrganizationID: "o1", ServiceAccount: true, Policy: wholePolicy(),
		})},
		fsm.BlockUser{ID: "u1", Blocked: true},
		fsm.DeleteUser{ID: "u1"},
		fsm.PutCustomer{Read: 7, Windows: []fsm.OpenWindow{open}, Record: encoded(t, resource.Customer{Meta: m("c/1"), Name: "one", DefaultModel: "demo", Region: "eu", Policy: wholePolicy()})},
		fsm.BlockCustomer{ID: "c/1", Blocked: true},
		fsm.DeleteCustomer{ID: "c/1"},
		fsm.PutTag{Read: 7, Windows: []fsm.OpenWindow{open}, Record: encoded(t, resource.Tag{Meta: m("prod"), Description: "d", Policy: wholePolicy()})},
		fsm.DeleteTag{ID: "prod"},
		fsm.PutTeamMember{Read: 7, Windows: []fsm.OpenWindow{open}, Record: encoded(t, resource.TeamMember{Meta: m("t1/u1"), TeamID: "t1", UserID: "u1", Admin: true, Policy: wholePolicy()})},
		fsm.DeleteTeamMember{ID: "t1/u1"},
		fsm.OrderErasure{ID: "e1", Kind: "customer", Subject: "ada", Pseudonym: "erased-1"},
		fsm.NoteErasure{ID: "e1", Node: "n1", Stage: 2, Rows: 3, Contents: 4},
		fsm.ActAsFile{File: "cluster.hcl"},
		fsm.TakeOver{Kind: "key", ID: "k1"},
		fsm.PutBlob{Quota: 8, Blob: encoded(t, resource.Blob{
			ID: strings.Repeat("ab", 32), Class: resource.BlobClient, Kind: "response", Owner: "key/k1", Name: "n", Size: 4, ExpiresAt: 5,
			CreatedAt: 6, CreatedBy: "node/n1", Refs: []string{"response/r1"}, Holders: []string{"n1", "n2"},
		})},
		fsm.DeleteBlob{ID: strings.Repeat("ab", 32)},
		fsm.ReferBlob{ID: strings.Repeat("ab", 32), Ref: "plugin/p1", Drop: true},
		fsm.SweepBlobs{IDs: []string{strings.Repeat("ab", 32)}},
		fsm.PutResponse{Quota: 8, Response: encoded(t, resource.Response{
			ID: "resp_1", Blob: strings.Repeat("ab", 32), CreatedAt: 6, ExpiresAt: 7,
			Owners: resource.Owners{KeyID: "k1", UserID: "u1", TeamID: "t1", ProjectID: "p1", OrganizationID: "o1", CustomerID: "c1"},
		}), Blob: encoded(t, resource.Blob{
			ID: strings.Repeat("ab", 32), Class: resource.BlobClient, Kind: "response", Size: 4, Refs: []string{"response/resp_1"}, Holders: []string{"n1", "n2"},
		})},
		fsm.DeleteResponses{IDs: []string{"resp_1"}, Over: true},
		fsm.PutArtifact{Read: 7, Quota: 8, Artifact: encoded(t, resource.Artifact{
			ID: "batch_1", Kind: resource.ArtifactBatch, CreatedAt: 6, ExpiresAt: 7, Owners: resource.Owners{KeyID: "k1", TeamID: "t1"},
			Batch: &resource.BatchJob{
				Endpoint: "/v1/embeddings", InputFile: "file-1", Window: "24h", Metadata: json.RawMessage(`{"a":"b"}`), Address: "10.0.0.1", Status: resource.BatchFailed,
				Runner: "n1/1", LeaseUntil: 9, Next: 1, Asked: []int64{0}, Again: []int64{1}, Total: 3, Completed: 1, Failed: 1, OutputFile: "file-2", ErrorFile: "file-3",
				Output:   []resource.Part{{Blob: strings.Repeat("ab", 32), Bytes: 4, Lines: 1}},
				Errors:   []resource.Part{{Blob: strings.Repeat("cd", 32), Bytes: 5, Lines: 1}},
				Problems: []resource.BatchProblem{{Line: 3, Code: "c", Message: "m", Param: "p"}},
				Moments:  resource.BatchMoments{Ends: 1, InProgress: 2, Finalizing: 3, Completed: 4, Failed: 5, Expired: 6, Cancelling: 7, Cancelled: 8},
			},
		}), Blobs: []fsm.Encoded[resource.Blob]{encoded(t, resource.Blob{
			ID: strings.Repeat("ab", 32), Class: resource.BlobClient, Kind: "file", Size: 4, Refs: []string{"artifact/batch_1"}, Holders: []string{"n1", "n2"},
		})}},
		fsm.DeleteArtifacts{IDs: []string{"file-1"}, Over: true},
		fsm.PutMCPToken{Read: 7, Replace: true, Token: encoded(t, resource.MCPToken{ID: "s1/user:u1", Secret: sealed, ExpiresAt: 5, UpdatedAt: 6, Scopes: "a b"})},
		fsm.DeleteMCPToken{ID: "s1/user:u1"},
		fsm.MarkMember{ID: "n1", Mark: fsm.MarkQuarantined, Off: true, Reason: "r"},
		fsm.DropJoinToken{Hash: h1},
		fsm.SetVersion{Version: 2},
		fsm.PutVariable{Read: 7, Variable: encoded(t, resource.Variable{Meta: m("NAME"), Value: sealed})},
		fsm.DeleteVariable{ID: "NAME"},
		fsm.BeginRollout{Rollout: fsm.Rollout{
			ID: "r1", Rev: 1, State: memory.RolloutForward, Version: "v2", Bundle: h1.String(), Manifest: []byte(`{}`), Signed: "s", Signer: "k",
			Programs: []memory.Program{{Platform: "linux/amd64", Content: memory.Content{SHA256: h2.String(), Size: 3, Parts: []string{h2.String()}}}},
			Prices:   &memory.Content{SHA256: h2.String(), Size: 3, Parts: []string{h2.String()}},
			Plugins:  []memory.Content{{Name: "p", SHA256: h2.String(), Size: 3, Parts: []string{h2.String()}}},
			Base:     1, Health: 60e9, Hold: 5e9, Began: 1, Stepped: 2, By: "master", Reason: "x", Turn: "n1",
			Nodes: []memory.RolloutNode{{ID: "n1", Step: memory.NodeFailed, Since: 3, Reason: "y"}},
		}},
		fsm.NoteRollout{ID: "r1", Node: "n1", Step: memory.NodeFailed, Reason: "y"},
		fsm.SwitchPlugins{ID: "r1", Read: 7},
		fsm.AdvanceRollout{ID: "r1", Read: 7, State: memory.RolloutForward, Turn: "n2", Good: "n1", Reason: "x"},
		fsm.RevertRollout{ID: "r1", Reason: "x"},
		fsm.BeginRotation{Kind: "ca", ID: "x", Cert: []byte{1}, Key: []byte{2}, KEKID: "k", Overlap: 3},
		fsm.NoteRotation{Kind: "ca", ID: "x", Step: "install", Node: "n1"},
		fsm.AdvanceRotation{Kind: "ca", ID: "x", From: "install", Wraps: []fsm.Wrap{{Old: []byte{1}, New: []byte{2}}}},
		fsm.Reseal{Items: []fsm.Resealed{{Kind: "credential", ID: "c1", Field: "api_key", Old: []byte{1}, Sealed: sealed}}},
		fsm.RaiseAlerts{Alerts: []alert.Alert{{Kind: channel.NodeDown, Subject: "node/n1", Name: "a", Text: "t", Key: "node_down/n1", Lasting: true}}},
		fsm.EndAlerts{Keys: []string{"node_down/n1"}},
		fsm.NoteAlerts{Notes: []fsm.AlertNote{{ID: "alrt_1", Done: true, Deliveries: []alert.Delivery{{Channel: "ops", State: alert.Dead, At: 1, Tries: 2, Error: "e"}}}}},
		fsm.RetryAlerts{IDs: []string{"alrt_1"}},
		fsm.FoundTeam{Windows: []fsm.OpenWindow{open}, Team: encoded(t, resource.Team{Meta: m(resource.SystemTeamID), Name: "_system", Policy: resource.Policy{Allowance: resource.Allowance{Budgets: terms}}})},
		fsm.DeleteAlerts{IDs: []string{"alrt_1"}},
		fsm.RotateKey{Read: 7, Windows: []fsm.OpenWindow{open}, Key: encoded(t, resource.Key{
			Meta: m("k1"), Name: "one", Hash: h1, OldHashes: []resource.OldHash{{Hash: h2, Until: 3}}, Hint: "sk-...abcd",
			Rotation: &resource.Rotation{Every: "30d", Deliver: resource.DeliverPickUp}, RotateAt: 4, RotatedAt: 5,
		})},
		fsm.TurnKey{Read: 7, Windows: []fsm.OpenWindow{open}, Key: encoded(t, resource.Key{
			Meta: m("k1"), Name: "one", Hash: h1, OldHashes: []resource.OldHash{{Hash: h2, Until: 3}}, Hint: "sk-...abcd",
			Rotation: &resource.Rotation{Every: "30d", Grace: "1d", Deliver: resource.DeliverWebhook, URL: "https://x"}, RotationKey: sealed,
			RotateAt: 4, RotatedAt: 5, Next: &resource.NextSecret{Hash: h2, Hint: "sk-...efgh", At: 6, Sealed: sealed},
			Turns: []resource.Turn{{Op: h1, Before: h2}},
			Access: resource.Access{
				Type: resource.TypeManagement, Permissions: map[string]bool{"get_spend_routes": true},
				Prompts: []string{"p"}, CacheControls: []string{"ttl"}, IncreaseCap: new(resource.Money(1)),
			},
			Policy: resource.Policy{PassThrough: []string{"/x"}, DeniedPassThrough: []string{"/y"}, Objects: &resource.Objects{
				MCPServers: []string{"a"}, MCPAccessGroups: []string{"b"}, MCPTools: map[string][]string{"a": {"c"}}, MCPToolsets: []string{"d"}, BlockedTools: []string{"e"},
				VectorStores: []string{"f"}, Agents: []string{"g"}, AgentAccessGroup: []string{"h"}, SearchTools: []string{"i"}, Skills: []string{"j"},
			}},
		})},
	}
}

// wholePolicy has every field set.
func wholePolicy() resource.Policy {
	n := func(v int64) *int64 { return &v }
	return resource.Policy{
		Allowance: resource.Allowance{
			BudgetID: "b1", Limits: resource.Limits{RPM: n(1), TPM: n(2), InputTPM: n(3), OutputTPM: n(4), Parallel: n(5)},
			Budgets: []resource.Terms{
				{Name: "d", USD: 5, Soft: 4, Models: []string{"demo"}, Per: resource.PerDay, Every: 2, Increase: &resource.TempIncrease{Amount: 1, Until: 2, By: "master", Reason: "r"}},
				{Name: "t", Tokens: n(6)},
				{Name: "r", Requests: n(7)},
				{Name: "g", GPUSeconds: new(resource.Money(8))},
			},
			ModelLimits: map[string]resource.Limits{"demo": {RPM: n(1)}},
		},
		Models: []string{"demo"}, Aliases: map[string]string{"a": "demo"}, Routes: []string{"/v1/*"}, AllowedIPs: []string{"10.0.0.0/8"},
		DeniedIPs: []string{"10.0.0.1"}, EnforcedParams: []string{"user"}, Guardrails: []string{"g"}, Callbacks: []string{"c"}, Tags: []string{"x"},
		Sessions:   &resource.SessionLimits{Budget: 1, Iterations: 2, RPM: n(3), TPM: n(4), RequireTraceID: true},
		LogContent: new(false), MaxRequestMB: n(1), MaxResponseMB: n(2), Metadata: json.RawMessage(`{"a":1}`),
	}
}

var sampleEnvelope = fsm.Envelope{
	At: 1_700_000_000_000_000_000, Actor: fsm.Actor{Kind: "key", ID: "k1", Version: 3}, RequestID: "r1",
	CommandID: [16]byte{1, 2, 3}, ReadIndex: 4, FSMVersion: 1,
}

func TestTable_GoldenBytes(t *testing.T) {
	t.Parallel()
	all := samples(t)
	if got, want := len(all), fsm.TableLen(); got != want {
		t.Errorf("samples has %d commands, the table %d", got, want)
	}
	if !fsm.ItemsAreAdmins() {
		t.Error("a kind of the table is an item, but not for those who may propose a batch")
	}
	for _, cmd := range all {
		kind := fsm.KindOf(cmd)
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			got, err := fsm.Encode(sampleEnvelope, cmd)
			if err != nil {
				t.Fatal(err)
			}
			want := readGolden(t, kind.String(), got)
			if !bytes.Equal(got, want) {
				t.Errorf("got %x\nwant %x", got, want)
			}
			env, k, back, err := fsm.Decode(want)
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if d := cmp.Diff(sampleEnvelope, env); d != "" || k != kind {
				t.Errorf("envelope of kind %v differs (-want +got):\n%s", k, d)
			}
			again, err := fsm.Encode(env, back)
			if err != nil || !bytes.Equal(again, want) {
				t.Errorf("encoded again: %x (%v)", again, err)
			}
			if _, err := json.Marshal(back); err != nil {
				t.Errorf("as JSON: %v", err)
			}
		})
	}
}

func readGolden(t *testing.T, name string, made []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name+".hex")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *golden {
		text = []byte(hex.EncodeToString(made) + "\n")
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecode_Strict(t *testing.T) {
	t.Parallel()
	// {"id": "k1"} is a1 62 6964 62 6b31.
	for _, tt := range []struct {
		name string
		body string
		ok   bool
	}{
		{"as encoded", "a16269646 26b31", true},
		{"unknown field", "a2626964626b31617801", false},
		{"duplicate field", "a2626964626b31626964626b31", false},
		{"another case", "a1624964626b31", false},
		{"indefinite length", "bf626964626b31ff", false},
		{"longer than needed", "a162696478026b31", false},
		{"tagged", "c1a1626964626b31", false},
		{"more behind it", "a1626964626b3100", false},
		{"empty", "", false},
		{"no UTF-8", "a16269646 2ff31", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			body, err := hex.DecodeString(strings.ReplaceAll(tt.body, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			b, err := fsm.Encode(sampleEnvelope, fsm.DeleteKey{ID: "k1"})
			if err != nil {
				t.Fatal(err)
			}
			b = append(b[:len(b)-7:len(b)-7], body...)
			if _, _, _, err = fsm.Decode(fsm.Forge(b, fsm.KindDeleteKey)); (err == nil) != tt.ok {
				t.Errorf("Decode: got %v, want ok = %v", err, tt.ok)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, cmd := range samples(f) {
		b, err := fsm.Encode(sampleEnvelope, cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 12 {
			b = fsm.Forge(bytes.Clone(b), fsm.Kind(uint16(b[2])<<8|uint16(b[3]))) // get past the checksum
		}
		env, _, cmd, err := fsm.Decode(b)
		if err != nil {
			return
		}
		again, err := fsm.Encode(env, cmd)
		if env.FSMVersion != 0 && (err != nil || !bytes.Equal(again, b)) {
			t.Errorf("%x is read as what is written %x (%v)", b, again, err)
		}
	})
}
