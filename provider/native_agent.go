package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/a2a"
	"github.com/conclave-llm/conclave/provider/langflow"
	"github.com/conclave-llm/conclave/provider/langgraph"
	"github.com/conclave-llm/conclave/provider/manus"
	"github.com/conclave-llm/conclave/provider/ragflow"
)

// agentRows are servers of agents, which are asked as models are. Most run on machines of one's own.
var agentRows = []Provider{
	{Name: "langgraph", Base: "http://localhost:2024", KeyVars: []string{"LANGGRAPH_API_KEY"}, BaseVars: []string{"LANGGRAPH_API_BASE"}, Auth: XAPIKey, Endpoints: []llm.Endpoint{llm.LangGraphRun}, Codec: langgraph.New(), NoEndMark: true},
	{Name: "langflow", Base: "http://localhost:7860", KeyVars: []string{"LANGFLOW_API_KEY"}, BaseVars: []string{"LANGFLOW_API_BASE"}, Auth: XAPIKey, Endpoints: []llm.Endpoint{llm.LangflowRun}, Codec: langflow.New()},
	{Name: "ragflow", Base: "http://localhost:9380", KeyVars: []string{"RAGFLOW_API_KEY"}, BaseVars: []string{"RAGFLOW_API_BASE"}, Endpoints: chats, Codec: ragflow.Codec{}},
	{Name: "databricks_agent", KeyVars: []string{"DATABRICKS_API_KEY"}, BaseVars: []string{"DATABRICKS_API_BASE"}, Endpoints: []llm.Endpoint{llm.Responses}, Auth: DatabricksToken},
	{Name: "manus", Base: "https://api.manus.im", KeyVars: []string{"MANUS_API_KEY"}, BaseVars: []string{"MANUS_API_BASE"}, Auth: UnderscoreKey, Endpoints: []llm.Endpoint{llm.ManusTask}, Codec: manus.New(), RootOf: manus.RootOf},
	{Name: "a2a", KeyVars: []string{"A2A_API_KEY"}, BaseVars: []string{"A2A_API_BASE"}, Endpoints: []llm.Endpoint{llm.A2AMessage}, Codec: a2a.New()},
}
