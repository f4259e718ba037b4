ipvsadm -A -u [2001:db8:1::10]:80 -s rr
ipvsadm -a -u [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
ipvsadm -A -t [2001:db8:1::10]:80 -s rr
ipvsadm -a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -g
ipvsadm -A --sctp-service [2001:db8:1::10]:80 -s rr
ipvsadm -a --sctp-service [2001:db8:1::10]:80 -r [2001:db8:2::11]:80 -m
