"""The laws for components of other packages, each kind of component in one line of a pytest file:

    from arjax.testing import conditional_laws, network_laws

    test_my_network = network_laws("my_network")
    test_my_family = conditional_laws("my_family(components=3)")

`check_...` are the same without pytest, in a notebook: "kept", or the sentence of a refusal, by the name of each law.
"""

from arjax.testing.auditing import audit_laws as audit_laws
from arjax.testing.conditional import conditional_laws as conditional_laws
from arjax.testing.examples import CONTEXTS as CONTEXTS
from arjax.testing.examples import EVENTS as EVENTS
from arjax.testing.laws import LawBroken as LawBroken
from arjax.testing.model import model_laws as model_laws
from arjax.testing.network import network_laws as network_laws
from arjax.testing.objective import objective_laws as objective_laws
from arjax.testing.order import ordering_laws as ordering_laws
from arjax.testing.order import orders_laws as orders_laws
from arjax.testing.order import partition_laws as partition_laws
from arjax.testing.quantizer import quantizer_laws as quantizer_laws
from arjax.testing.sampler import sampler_laws as sampler_laws
from arjax.testing.stages import stages_laws as stages_laws

audit = audit_laws
check_conditional = conditional_laws.check
check_model = model_laws.check
check_network = network_laws.check
check_objective = objective_laws.check
check_ordering_laws = ordering_laws.check
check_orders_laws = orders_laws.check
check_partition_laws = partition_laws.check
check_quantizer = quantizer_laws.check
check_sampler = sampler_laws.check
check_stages = stages_laws.check
