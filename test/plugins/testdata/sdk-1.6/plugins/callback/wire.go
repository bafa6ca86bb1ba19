package callback

import (
	"strings"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/proto"
)

func toWire(r *Record) *proto.Record {
	out := &proto.Record{
		Position: r.Position, RequestId: valid(r.RequestID), NodeId: valid(r.NodeID), StartedAt: r.StartedAt.UnixNano(),
		DurationNs: int64(r.Duration), FirstTokenNs: int64(r.FirstToken), Endpoint: valid(r.Endpoint), Model: valid(r.Model),
		DeploymentId: valid(r.DeploymentID), Provider: valid(r.Provider), UpstreamModel: valid(r.UpstreamModel),
		KeyId: valid(r.KeyID), TeamId: valid(r.TeamID), UserId: valid(r.UserID), EndUser: valid(r.EndUser),
		Stream: r.Stream, Status: valid(r.Status), HttpStatus: int32(r.HTTPStatus), ErrorCode: valid(r.ErrorCode),
		Attempts: int32(r.Attempts), CostNanoUsd: r.CostNanoUSD, Priced: r.Priced,
		Usage: &proto.Usage{
			Input: r.Usage.Input, CacheRead: r.Usage.CacheRead, CacheWrite: r.Usage.CacheWrite,
			Output: r.Usage.Output, Reasoning: r.Usage.Reasoning, Source: r.Usage.Source.String(),
		},
	}
	out.OrganizationId, out.ProjectId, out.CustomerId = valid(r.OrganizationID), valid(r.ProjectID), valid(r.CustomerID)
	out.SessionId, out.KeyName, out.TeamName = valid(r.SessionID), valid(r.KeyName), valid(r.TeamName)
	out.Step, out.Message, out.Prompt, out.PromptVersion = valid(r.Step), valid(r.Message), valid(r.Prompt), r.PromptVersion
	out.Request, out.Response, out.Truncated = r.Request, r.Response, r.Truncated
	for _, t := range r.Tags {
		out.Tags = append(out.Tags, valid(t))
	}
	for _, g := range r.Guardrails {
		out.Guardrails = append(out.Guardrails, &proto.GuardrailResult{
			Guardrail: g.Guardrail, Hook: g.Hook, Status: g.Status, Found: g.Found,
		})
	}
	return out
}

func fromWire(r *proto.Record) Record {
	u := r.GetUsage()
	out := Record{
		Position: r.GetPosition(), RequestID: r.GetRequestId(), NodeID: r.GetNodeId(),
		StartedAt: time.Unix(0, r.GetStartedAt()).UTC(),
		Duration:  time.Duration(r.GetDurationNs()), FirstToken: time.Duration(r.GetFirstTokenNs()),
		Endpoint: r.GetEndpoint(), Model: r.GetModel(), DeploymentID: r.GetDeploymentId(), Provider: r.GetProvider(),
		UpstreamModel: r.GetUpstreamModel(), KeyID: r.GetKeyId(), TeamID: r.GetTeamId(), UserID: r.GetUserId(),
		EndUser: r.GetEndUser(), Tags: r.GetTags(), Stream: r.GetStream(), Status: r.GetStatus(),
		HTTPStatus: int(r.GetHttpStatus()), ErrorCode: r.GetErrorCode(), Attempts: int(r.GetAttempts()),
		CostNanoUSD: r.GetCostNanoUsd(), Priced: r.GetPriced(),
		Usage: llm.Usage{
			Input: u.GetInput(), CacheRead: u.GetCacheRead(), CacheWrite: u.GetCacheWrite(),
			Output: u.GetOutput(), Reasoning: u.GetReasoning(), Source: sourceOf(u.GetSource()),
		},
	}
	out.OrganizationID, out.ProjectID, out.CustomerID = r.GetOrganizationId(), r.GetProjectId(), r.GetCustomerId()
	out.SessionID, out.KeyName, out.TeamName = r.GetSessionId(), r.GetKeyName(), r.GetTeamName()
	out.Step, out.Message, out.Prompt, out.PromptVersion = r.GetStep(), r.GetMessage(), r.GetPrompt(), r.GetPromptVersion()
	out.Request, out.Response, out.Truncated = r.GetRequest(), r.GetResponse(), r.GetTruncated()
	for _, g := range r.GetGuardrails() {
		out.Guardrails = append(out.Guardrails, GuardrailResult{
			Guardrail: g.GetGuardrail(), Hook: g.GetHook(), Status: g.GetStatus(), Found: g.GetFound(),
		})
	}
	return out
}

func sourceOf(name string) llm.UsageSource {
	for _, s := range []llm.UsageSource{llm.UsageProvider, llm.UsageEstimated} {
		if s.String() == name {
			return s
		}
	}
	return llm.UsageNone
}

// valid makes text that protobuf accepts: a client's own fields may hold anything.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
