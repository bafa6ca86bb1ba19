package provider

import (
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/sap"
	"github.com/conclave-llm/conclave/provider/watsonx"
)

// cloudRows are clouds that want a proof of their own of who asks, most of whom speak OpenAI's form.
var cloudRows = []Provider{
	{Name: "cloudflare", Base: "https://api.cloudflare.com/client/v4/accounts/{account_id}/ai/v1", KeyVars: []string{"CLOUDFLARE_API_KEY"}, BaseVars: []string{"CLOUDFLARE_API_BASE"}, Endpoints: chatsEmb, MaxBatch: 100},
	{Name: "databricks", KeyVars: []string{"DATABRICKS_API_KEY"}, BaseVars: []string{"DATABRICKS_API_BASE"}, Endpoints: chatsEmb, Auth: DatabricksToken, MaxBatch: 150},
	{Name: "snowflake", Base: "https://{account}.snowflakecomputing.com/api/v2/cortex/v1", KeyVars: []string{"SNOWFLAKE_JWT"}, BaseVars: []string{"SNOWFLAKE_API_BASE"}, Endpoints: chatsEmb, Auth: SnowflakeToken},
	{Name: "sap", BaseVars: []string{"SAP_API_BASE"}, Endpoints: chatsEmb, Auth: SAPToken, Codec: sap.Codec{}},
	{Name: "watsonx", Base: "https://{region}.ml.cloud.ibm.com", KeyVars: []string{"WATSONX_API_KEY", "WATSONX_APIKEY"}, BaseVars: []string{"WATSONX_API_BASE", "WATSONX_URL"}, Endpoints: []llm.Endpoint{llm.WatsonxChat, llm.WatsonxEmbed}, Auth: IBMToken, Codec: watsonx.Codec{}, MaxBatch: watsonx.MaxInputs, NoEndMark: true, NoStreamOptions: true},
}
