"""The Bedrock dialect: the runtime's wire, as botocore and the AWS SDKs speak it."""
