ipvsadm -A -u [2001:db8:1::10]:80 -s rr
ipvsadm -a -u [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
ipvsadm -A -t [2001:db8:1::10]:81 -s rr
ipvsadm -a -t [2001:db8:1::10]:81 -r [2001:db8:2::12]:81 -g
ipvsadm -A -u [2001:db8:1::10]:81 -s rr
ipvsadm -a -u [2001:db8:1::10]:81 -r [2001:db8:2::12]:81 -i
ipvsadm -A --sctp-service [2001:db8:1::10]:80 -s rr
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
