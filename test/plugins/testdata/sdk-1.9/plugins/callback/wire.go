package callback

import (
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/plugins/wiretext"
)

func toWire(r *Record) *proto.Record {
	out := &proto.Record{
		Position: r.Position, RequestId: wiretext.Valid(r.RequestID), NodeId: wiretext.Valid(r.NodeID), StartedAt: r.StartedAt.UnixNano(),
		DurationNs: int64(r.Duration), FirstTokenNs: int64(r.FirstToken), Endpoint: wiretext.Valid(r.Endpoint), Model: wiretext.Valid(r.Model),
		DeploymentId: wiretext.Valid(r.DeploymentID), Provider: wiretext.Valid(r.Provider), UpstreamModel: wiretext.Valid(r.UpstreamModel),
		KeyId: wiretext.Valid(r.KeyID), TeamId: wiretext.Valid(r.TeamID), UserId: wiretext.Valid(r.UserID), EndUser: wiretext.Valid(r.EndUser),
		Stream: r.Stream, Status: wiretext.Valid(r.Status), HttpStatus: int32(r.HTTPStatus), ErrorCode: wiretext.Valid(r.ErrorCode),
		Attempts: int32(r.Attempts), CostNanoUsd: r.CostNanoUSD, Priced: r.Priced,
		Usage: &proto.Usage{
			Input: r.Usage.Input, CacheRead: r.Usage.CacheRead, CacheWrite: r.Usage.CacheWrite,
			Output: r.Usage.Output, Reasoning: r.Usage.Reasoning, Source: r.Usage.Source.String(),
		},
	}
	out.OrganizationId, out.ProjectId, out.CustomerId = wiretext.Valid(r.OrganizationID), wiretext.Valid(r.ProjectID), wiretext.Valid(r.CustomerID)
	out.SessionId, out.KeyName, out.TeamName = wiretext.Valid(r.SessionID), wiretext.Valid(r.KeyName), wiretext.Valid(r.TeamName)
	out.Step, out.Message, out.Prompt, out.PromptVersion = wiretext.Valid(r.Step), wiretext.Valid(r.Message), wiretext.Valid(r.Prompt), r.PromptVersion
	out.Request, out.Response, out.Truncated = r.Request, r.Response, r.Truncated
	out.ApiBase, out.Cached, out.Path = wiretext.Valid(r.APIBase), r.Cached, wiretext.Valid(r.Path)
	out.OrganizationName, out.ProjectName = wiretext.Valid(r.OrganizationName), wiretext.Valid(r.ProjectName)
	out.KeyBudgetNanoUsd, out.TeamBudgetNanoUsd = r.KeyBudget, r.TeamBudget
	out.Address, out.UserEmail = wiretext.Valid(r.Address), wiretext.Valid(r.UserEmail)
	for _, g := range r.AccessGroups {
		out.AccessGroups = append(out.AccessGroups, wiretext.Valid(g))
	}
	for _, t := range r.Tags {
		out.Tags = append(out.Tags, wiretext.Valid(t))
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
	out.APIBase, out.Cached, out.Path = r.GetApiBase(), r.GetCached(), r.GetPath()
	out.OrganizationName, out.ProjectName, out.AccessGroups = r.GetOrganizationName(), r.GetProjectName(), r.GetAccessGroups()
	out.KeyBudget, out.TeamBudget = r.KeyBudgetNanoUsd, r.TeamBudgetNanoUsd
	out.Address, out.UserEmail = r.GetAddress(), r.GetUserEmail()
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
