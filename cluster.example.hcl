node {
  name       = "a"
  data_dir   = "data/a"
  listen     = "127.0.0.1:4000"
  cluster    = "127.0.0.1:4001"
  advertise  = ""
  master_key = env("CONCLAVE_MASTER_KEY")
}

credential "openai" {
  provider = "openai"
  api_key  = env("OPENAI_API_KEY")
}

model "demo" {
  strategy      = "least_busy"
  fallbacks     = []
  on_disconnect = "drain"

  first_token_timeout_ms    = 30000
  between_chunks_timeout_ms = 15000

  deployment "d1" {
    provider = "openai"
    api_base = "http://127.0.0.1:4090/v1"
    model    = "demo"
    weight   = 1

    proxy {
      url = "direct"
    }

    price { # US dollars per million tokens
      input  = 0.15
      output = 0.60
    }
  }
}

team "research" {
  budget {
    usd = 100
    per = "month"
  }
}

key "notebook" {
  team   = "research"
  models = ["demo"]
  secret = env("NOTEBOOK_KEY")

  budget {
    usd = 1
    per = "day"
  }

  limit {
    rpm      = 60
    tpm      = 100000
    parallel = 4
  }
}

guardrail "words" {
  plugin   = "keywords"
  hooks    = ["before"]
  on_error = "block"
  config   = { words = ["secret project"] }
}

callback "log" {
  plugin = "file"
  config = { path = "requests.jsonl" }
}
