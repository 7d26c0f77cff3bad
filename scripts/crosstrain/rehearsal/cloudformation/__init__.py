"""What CloudFormation does: change sets, and the rights that it takes to execute them."""
