"""AWS Lambda: events are delivered before an invocation ends.

pip install --target package freshsuccess-logging
python -m awslambdaric aws_lambda.lambda_handler

The first command adds fslog to the function's package. The second is what Lambda's images run; in
a zip archive, `aws_lambda.lambda_handler` is the handler of the function. The keys are in its
environment, as `FSLOG_AUTH_KEY` and `FSLOG_API_KEY`.
"""

import logging

from fslog import FreshsuccessHandler, context
from fslog.integrations import aws

log = logging.getLogger("app")  # Lambda's own handler, on the root logger, is not changed
log.setLevel(logging.INFO)
log.addHandler(FreshsuccessHandler())


@aws.flushed(timeout=2)
def lambda_handler(event, lambda_context):
    # As an authorizer of API Gateway returns it; the binding ends with the invocation.
    user = event["requestContext"]["authorizer"]
    if user:
        context.bind(accountId=user["account"], userId=user["user"])
    rows = int(event["queryStringParameters"]["rows"])
    used = {"action": "feature", "module": "reports", "feature": "export", "rows": rows}
    log.info("exported %d rows", rows, extra={"event": used})
    return {"statusCode": 200}
